"""Files that a site keeps for itself: written whole, readable by their owner alone."""

from pathlib import Path

from fedtt.atomic_write import replace_file
from fedtt.errors import SitesError


def write_kept_file(path: Path, content: bytes, *, cannot: str) -> None:
    """Replace the file, in a folder that is made where there is none.

    Raises :class:`SitesError`, which says what ``cannot`` be done, where it cannot be written.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, mode=0o600)
    except OSError as error:
        raise SitesError(
            f"cannot {cannot}",
            where=str(path),
            got=error,
            fix="name a folder that can be written: fedtt join --state DIR",
        ) from error
