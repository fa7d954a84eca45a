"""Which type a device multiplies fastest in, of those that a base model can have."""

import torch

from fedtt.wide_products import share_of_float32_time

# A step is not products alone: they must take at most this share of their time in float32.
# Those of Zen 5 take 0.23; Zen 4, whose units are half as wide, should not be decided by chance.
MOST_TIME = 0.4


def fast_dtype(device: torch.device) -> str:
    """``bfloat16`` where the device multiplies it much faster than ``float32``, else that.

    A CPU does with AMX. AVX512-BF16 alone says little: AMD's Zen 5 multiplies four times as fast by
    it, and an Intel Xeon's step takes longer (docs/performance.md); so it is measured, once in a
    process, which takes some 30 ms. Without either bfloat16 is a little slower, by
    :mod:`fedtt.wide_products`; without those, some twenty times.
    """
    if device.type == "cuda":
        fast = torch.cuda.get_device_capability(device) >= (8, 0)
    elif device.type == "cpu" and hasattr(torch.cpu, "get_capabilities"):
        able = torch.cpu.get_capabilities()
        fast = bool(able.get("amx_bf16")) or (
            bool(able.get("avx512_bf16")) and share_of_float32_time(torch.bfloat16) <= MOST_TIME
        )
    else:
        fast = False
    return "bfloat16" if fast else "float32"
