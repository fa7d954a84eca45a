"""A library's logger that says less for the duration of a block."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_logger(name: str, *, level: int) -> Iterator[None]:
    """Nothing below ``level`` from the logger of that name; its own level comes back after."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(level)
    try:
        yield
    finally:
        logger.setLevel(before)
