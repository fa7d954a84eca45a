"""Fetching is tested with the real pip on a folder of packages: no network, nothing faked."""

import hashlib
import io
import os
import subprocess
import tarfile
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fedtt.data import archive, default_cache_dir, fetch_sdist, find_cached
from fedtt.data.archive import read_members
from fedtt.errors import DataError

TarOf = Callable[[Mapping[str, bytes]], bytes]
NAME = "fedtt_tiny-1.0.tar.gz"
REQUIREMENT = "fedtt-tiny==1.0"
# A build backend inside the package itself: pip needs nothing from anywhere to read its metadata.
BACKEND = b"""
from pathlib import Path
METADATA = "Metadata-Version: 2.1\\nName: fedtt-tiny\\nVersion: 1.0\\n"
def prepare_metadata_for_build_wheel(folder, config_settings=None):
    Path("MARKER").write_text("ran")
    info = Path(folder) / "fedtt_tiny-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(METADATA)
    return info.name
def build_wheel(*args, **kwargs):
    raise NotImplementedError
"""
PYPROJECT = b"""
[build-system]
requires = []
build-backend = "backend"
backend-path = ["."]
[project]
name = "fedtt-tiny"
version = "1.0"
"""


@pytest.fixture
def index(tmp_path: Path, tar_of: TarOf, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only place pip may look: a folder with the one package."""
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    folder = tmp_path / "index"
    folder.mkdir()
    package = tar_of(
        {
            "fedtt_tiny-1.0/pyproject.toml": PYPROJECT,
            "fedtt_tiny-1.0/backend.py": BACKEND,
            "fedtt_tiny-1.0/PKG-INFO": b"Metadata-Version: 2.1\nName: fedtt-tiny\nVersion: 1.0\n",
        }
    )
    (folder / NAME).write_bytes(package)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    return folder


def sha(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def no_pip(*args: object, **kwargs: object) -> None:
    raise AssertionError("pip was started")


def test_fetched_once_then_offline(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache, digest = tmp_path / "deep" / "cache", sha(index / NAME)
    path = fetch_sdist(REQUIREMENT, filename=NAME, sha256=digest, cache_dir=cache)
    assert path == cache / NAME
    assert sha(path) == digest
    assert [entry.name for entry in cache.iterdir()] == [NAME]  # nothing left behind
    monkeypatch.setattr(subprocess, "run", no_pip)
    assert fetch_sdist(REQUIREMENT, filename=NAME, sha256=digest, cache_dir=cache) == path


def test_a_damaged_cache_file_is_fetched_again(index: Path, tmp_path: Path) -> None:
    digest = sha(index / NAME)
    (tmp_path / NAME).write_bytes(b"cut off")
    path = fetch_sdist(REQUIREMENT, filename=NAME, sha256=digest, cache_dir=tmp_path)
    assert sha(path) == digest


def test_a_damaged_cache_file_is_never_used_offline(index: Path, tmp_path: Path) -> None:
    digest = sha(index / NAME)
    (index / NAME).unlink()
    (tmp_path / NAME).write_bytes(b"cut off")
    with pytest.raises(DataError, match=r"the file there now fails its SHA-256"):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256=digest, cache_dir=tmp_path)


def test_another_file_is_refused_before_anything_of_it_runs(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "cache"
    marker = tmp_path / "MARKER"
    changed = BACKEND.replace(b'Path("MARKER")', f"Path({str(marker)!r})".encode())
    honest = (index / NAME).read_bytes()
    digest = hashlib.sha256(honest).hexdigest()
    with tarfile.open(index / NAME, "w:gz") as tar:
        for name, data in {"pyproject.toml": PYPROJECT, "backend.py": changed}.items():
            info = tarfile.TarInfo(f"fedtt_tiny-1.0/{name}")
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    with pytest.raises(
        DataError, match=rf"delivers a different file(.|\n)*expected: SHA-256 {digest}"
    ):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256=digest, cache_dir=cache)
    assert not marker.exists()
    assert list(cache.iterdir()) == []
    # The marker does appear when the hash is right: the check above can fail.
    fetch_sdist(REQUIREMENT, filename=NAME, sha256=sha(index / NAME), cache_dir=cache)
    assert marker.exists()


def test_our_own_hash_does_not_rest_on_pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def careless_pip(command: list[str], **kwargs: object) -> subprocess.CompletedProcess[str]:
        (Path(command[command.index("--dest") + 1]) / NAME).write_bytes(b"something else")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(subprocess, "run", careless_pip)
    with pytest.raises(DataError, match=r"got: SHA-256 [0-9a-f]{64}\n  expected: SHA-256 000"):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256="0" * 64, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_no_network_says_what_to_do(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (index / NAME).unlink()
    with pytest.raises(DataError) as caught:
        fetch_sdist(REQUIREMENT, filename=NAME, sha256="0" * 64, cache_dir=tmp_path)
    message = str(caught.value)
    assert "fedtt-tiny==1.0 could not be fetched from the package index" in message
    assert "pip says: ERROR: No matching distribution found for fedtt-tiny==1.0" in message
    assert f"place {NAME} at {tmp_path / NAME} by hand" in message
    assert "FEDTT_CACHE" in message


def test_no_pip_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"this Python has no pip(.|\n)*by hand"):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256="0" * 64, cache_dir=tmp_path)


def test_a_silent_index_is_given_up_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def hang(command: list[str], **kwargs: object) -> None:
        assert kwargs["timeout"] == 300
        raise subprocess.TimeoutExpired(command, 300)

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(DataError, match=r"no answer within 300 seconds"):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256="0" * 64, cache_dir=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_a_cache_that_cannot_be_made_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(DataError, match=r"the cache folder cannot be written(.|\n)*FEDTT_CACHE"):
        fetch_sdist(REQUIREMENT, filename=NAME, sha256="0", cache_dir=tmp_path / "file" / "deep")


def test_the_environment_names_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FEDTT_CACHE", str(tmp_path))
    assert default_cache_dir() == tmp_path
    (tmp_path / "file").write_bytes(b"here")
    digest = hashlib.sha256(b"here").hexdigest()
    assert find_cached("file", sha256=digest) == tmp_path / "file"
    assert find_cached("file", sha256="0" * 64) is None
    assert find_cached("absent", sha256=digest) is None
    monkeypatch.setenv("FEDTT_CACHE", "")
    assert default_cache_dir().name == "fedtt"


def test_members_are_read_in_memory(tar_of: TarOf) -> None:
    data = tar_of({"a/b.txt": b"first", "a/c.txt": b"second", "d": b"third"})
    assert read_members(data, ["d", "a/b.txt"], where="x", max_bytes=99) == {
        "a/b.txt": b"first",
        "d": b"third",
    }


def test_the_size_limit_counts_every_member(tar_of: TarOf) -> None:
    data = tar_of({"big": b"0" * 1000, "small": b"1"})
    assert read_members(data, ["small"], where="x", max_bytes=1001) == {"small": b"1"}
    with pytest.raises(
        DataError, match=r"an archive is too large\n  where: x\n  got: over 1,000 B"
    ):
        read_members(data, ["small"], where="x", max_bytes=1000)


def test_a_missing_member_and_a_damaged_archive_are_named(tar_of: TarOf) -> None:
    data = tar_of({"a": b"0" * 5000})
    with pytest.raises(DataError, match=r"an archive lacks a file\n  where: x\n  got: no b, c"):
        read_members(data, ["b", "a", "c"], where="x", max_bytes=9999)
    for broken in (b"", b"not gzip", data[: len(data) // 2], data[:12] + b"\xff" * 20 + data[32:]):
        with pytest.raises(DataError, match=r"an archive is damaged"):
            read_members(broken, ["a"], where="x", max_bytes=9999)


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE])
def test_links_are_not_followed(kind: bytes) -> None:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w:gz") as tar:
        info = tarfile.TarInfo("a")
        info.type, info.linkname = kind, "../../etc/passwd"
        tar.addfile(info)
    with pytest.raises(DataError, match=r"an archive (is damaged|lacks a file)"):
        read_members(buffer.getvalue(), ["a"], where="x", max_bytes=99)
