"""Memory that a training step has freed stays with this process, for the next one.

glibc gives freed memory back to the system, which hands it out again page by page, each wiped
first: thousands of pages a step, whose activations are as large as those of the step before. Here
it is held until the process ends.
"""

import ctypes
import sys

# Of mallopt (malloc.h): free memory at the heap's end beyond which it is given back, and the size
# from which on a block is mapped for itself, and given back when it is freed.
_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
_MOST_KEPT = 2**31 - 1
_LARGEST_BLOCK = 32 * 2**20  # no larger one is taken


def keep_freed_memory() -> bool:
    """From now on this process keeps what it frees; whether its C library can be told so."""
    if sys.platform != "linux":
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:  # not glibc
        return False
    return bool(mallopt(_TRIM_THRESHOLD, _MOST_KEPT) and mallopt(_MMAP_THRESHOLD, _LARGEST_BLOCK))
