"""How large the numbers of an adapter's config may be, and what is said when memory ends."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import fields

import torch
from peft import PeftConfig

from fedtt.errors import ConfigError, ModelError
from fedtt.nested_values import leaves

MOST_RANK = 16_384
MOST_WIDTH = 65_536
# Of any other number in a config of PEFT's, steps among them. Seeds may be what they like.
MOST_OF_ANYTHING = 2**24
_NO_SIZES = ("seed", "key")


def check_sizes(config: PeftConfig) -> None:
    """Raise :class:`ConfigError` for a whole number that is far above what anybody has used."""
    for field in fields(config):
        if field.name.endswith(_NO_SIZES):
            continue
        for value in leaves(getattr(config, field.name)):
            if isinstance(value, int) and abs(value) > MOST_OF_ANYTHING:
                raise ConfigError(
                    f"{field.name} is absurdly large",
                    where=f"{type(config).__name__}.{field.name}",
                    got=f"a number of {value.bit_length():,} bits",
                    expected=f"at most {MOST_OF_ANYTHING:,}",
                )


@contextmanager
def want_of_memory_explained() -> Iterator[None]:
    """The allocator's refusal, inside, as a :class:`ModelError`."""
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if not _is_want_of_memory(error):
            raise
        raise ModelError(
            "what the method trains is larger than the memory of this machine",
            where="method",
            got=str(error).splitlines()[0][:200],
            fix="a smaller rank, bottleneck or number of tokens",
        ) from error


def _is_want_of_memory(error: Exception) -> bool:
    """Torch has a type of its own for it on devices alone, and words on a CPU."""
    words = ("can't allocate memory", "not enough memory", "Storage size calculation overflowed")
    kinds = (MemoryError, torch.OutOfMemoryError)
    return isinstance(error, kinds) or any(word in str(error) for word in words)
