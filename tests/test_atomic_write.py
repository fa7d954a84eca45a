"""A file is the old one or the new one, and nobody else's for a moment."""

import os
import re
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import fedtt
from fedtt.atomic_write import append_to_file, replace_file

SOURCE = Path(fedtt.__file__).parent


def test_the_content_is_replaced_and_nothing_lies_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "file"
    replace_file(path, b"old and longer")
    replace_file(path, b"new\r\n\x00")
    assert path.read_bytes() == b"new\r\n\x00"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_a_reader_never_sees_half_of_it(tmp_path: Path) -> None:
    path, contents = tmp_path / "file", [bytes([n]) * 50_000 for n in range(4)]
    replace_file(path, contents[0])

    def write(content: bytes) -> None:
        for _ in range(10):
            replace_file(path, content)

    with ThreadPoolExecutor(4) as pool:  # several writers in one process
        done = [pool.submit(write, content) for content in contents]
        while not all(one.done() for one in done):
            assert path.read_bytes() in contents
        assert [one.result() for one in done] == [None] * 4
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


@pytest.mark.skipif(not hasattr(os, "O_DIRECTORY"), reason="directories that can be opened")
def test_what_is_written_first_outlasts_a_power_cut_first(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a disk that keeps nothing but what it was told to."""
    synced: list[tuple[bytes, set[str]]] = []

    def sync(descriptor: int) -> None:
        folder = stat.S_ISDIR(os.fstat(descriptor).st_mode)
        names = {path.name for path in tmp_path.iterdir() if not path.name.startswith(".")}
        synced.append((b"" if folder else (tmp_path / "records").read_bytes(), names))

    monkeypatch.setattr(os, "fsync", sync)
    append_to_file(tmp_path / "records", b"one\n")
    assert synced == [(b"one\n", {"records"}), (b"", {"records"})]
    append_to_file(tmp_path / "records", b"two\n")
    replace_file(tmp_path / "state", b"after two")
    assert synced[2:] == [
        (b"one\ntwo\n", {"records"}),
        (b"one\ntwo\n", {"records"}),
        (b"", {"records", "state"}),
    ]


def test_what_cannot_be_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()
    with pytest.raises(OSError, match="target"):
        replace_file(tmp_path / "target", b"new")
    assert [p.name for p in tmp_path.iterdir()] == ["target"]


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_a_private_file_is_private(tmp_path: Path) -> None:
    before = os.umask(0o022)
    try:
        replace_file(tmp_path / "key", b"secret", mode=0o600)
        replace_file(tmp_path / "public", b"known")
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("key", "public")]
    assert modes == [0o600, 0o644]


def test_there_is_one_atomic_write() -> None:
    """A second one is a place where the next mistake is made; a download is moved, not written."""
    moves = re.compile(r"\.replace\((?:path|target|self\.\w+)\)|os\.replace\(|os\.rename\(")
    found = {
        path.relative_to(SOURCE).as_posix()
        for path in SOURCE.rglob("*.py")
        if moves.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"atomic_write.py", "data/archive.py"}
