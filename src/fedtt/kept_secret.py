"""A secret in a file: drawn once, readable by its owner alone, never sent."""

import secrets
from pathlib import Path

from fedtt.atomic_write import replace_file
from fedtt.errors import RunError

LENGTH = 32


def kept_secret(path: Path, *, whose: str, fix: str) -> bytes:
    """The secret at ``path``, drawn at the first call; ``whose`` and ``fix`` are for errors.

    Raises :class:`RunError` for a file that is damaged, or cannot be read or written.
    """
    try:
        if not path.exists():
            replace_file(path, secrets.token_bytes(LENGTH), mode=0o600)
        secret = path.read_bytes()
    except OSError as error:
        raise RunError(f"{whose} secret cannot be kept", where=str(path), got=error) from error
    if len(secret) != LENGTH:
        raise RunError(
            f"{whose} secret is damaged",
            where=str(path),
            got=f"{len(secret)} bytes",
            expected=f"{LENGTH} bytes",
            fix=fix,
        )
    return secret
