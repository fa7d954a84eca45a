"""The SHA-256 of every file of a folder, in a file beside them: ``sha256sum -c SHA256SUMS``."""

import hashlib
import re
from pathlib import Path

from fedtt.errors import RunError

CHECKSUMS = "SHA256SUMS"
_LINE = re.compile(r"([0-9a-f]{64})  (.+)")


def write_checksums(folder: Path) -> None:
    """List the files of ``folder``, and of what lies in it, with their checksums."""
    files = sorted(file for file in folder.rglob("*") if file.is_file())
    lines = [f"{_digest(file)}  {file.relative_to(folder).as_posix()}\n" for file in files]
    (folder / CHECKSUMS).write_text("".join(lines), encoding="utf-8")


def check_checksums(folder: Path) -> None:
    """Check the files that the folder lists; nothing where it has no list (PEFT writes none).

    Raises :class:`RunError` naming the first file that is missing, or not what was written.
    """
    if not (folder / CHECKSUMS).is_file():
        return
    for line in (folder / CHECKSUMS).read_text(encoding="utf-8", errors="replace").splitlines():
        listed = _LINE.fullmatch(line)
        file = folder / listed.group(2) if listed else folder / CHECKSUMS
        if listed is None or not file.is_file() or _digest(file) != listed.group(1):
            raise RunError(
                "a file is not what its checksum says",
                where=str(file),
                got="no such file" if not file.is_file() else "other bytes than were written",
                fix=f"bring the folder back whole, or remove {CHECKSUMS} if the change was meant",
            )


def _digest(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()
