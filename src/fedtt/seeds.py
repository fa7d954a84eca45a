"""Every random stream has a name: one root seed, many independent derived seeds."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager


def derive_seed(root: int, *path: str | int) -> int:
    """Seed of the stream named by ``path`` under ``root``, in ``[0, 2**63)``.

    The same arguments give the same seed on every machine and Python version; different paths
    give unrelated seeds (SHA-256 of the path written as JSON, so ``1`` and ``"1"`` differ).
    """
    name = json.dumps([root, *path], separators=(",", ":"), ensure_ascii=True)
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big") >> 1


@contextmanager
def random_stream(seed: int) -> Iterator[None]:
    """Torch's global generators start at ``seed`` inside the block and are untouched outside."""
    import torch  # not at the top: `fedtt --help` derives no seeds and must not wait for torch

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield
