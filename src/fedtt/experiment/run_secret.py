"""The secret of a run: made with its directory, never sent, never in its configuration.

Everybody who takes part is told the run's ``seed``; what must not be foreseen, and what must not be
mistaken for another run's, comes from here.
"""

import hashlib
import secrets
from pathlib import Path

from fedtt.atomic_write import replace_file
from fedtt.errors import RunError

FILE = "secret"
LENGTH = 32


def run_secret(folder: Path) -> bytes:
    """The secret kept in ``folder``, drawn at the first call; readable by its owner alone.

    Raises :class:`RunError` for a file that is damaged, or cannot be read or written.
    """
    path = folder / FILE
    try:
        if not path.exists():
            replace_file(path, secrets.token_bytes(LENGTH), mode=0o600)
        secret = path.read_bytes()
    except OSError as error:
        raise RunError("the run's secret cannot be kept", where=str(path), got=error) from error
    if len(secret) != LENGTH:
        raise RunError(
            "the run's secret is damaged",
            where=str(path),
            got=f"{len(secret)} bytes",
            expected=f"{LENGTH} bytes",
            fix="bring the file back, or start a new run with another --run directory",
        )
    return secret


def run_id(folder: Path) -> str:
    """32 hexadecimal digits that no other run has: public, and they do not tell the secret."""
    return hashlib.blake2b(run_secret(folder), digest_size=16, person=b"fedtt run id").hexdigest()
