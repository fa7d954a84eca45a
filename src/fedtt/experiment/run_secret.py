"""The secret of a run: made with its directory, never sent, never in its configuration.

Everybody who takes part is told the run's ``seed``; what must not be foreseen, and what must not be
mistaken for another run's, comes from here.
"""

import hashlib
from pathlib import Path

from fedtt.kept_secret import kept_secret

FILE = "secret"


def run_secret(folder: Path) -> bytes:
    """The secret kept in ``folder``, drawn at the first call; readable by its owner alone.

    Raises :class:`RunError` for a file that is damaged, or cannot be read or written.
    """
    return kept_secret(
        folder / FILE,
        whose="the run's",
        fix="bring the file back, or start a new run with another --run directory",
    )


def run_id(folder: Path) -> str:
    """32 hexadecimal digits that no other run has: public, and they do not tell the secret."""
    return hashlib.blake2b(run_secret(folder), digest_size=16, person=b"fedtt run id").hexdigest()
