"""A site runs the app of the installed fedtt, and no other."""

import hashlib
import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from flwr.cli.build import build_fab_from_disk
from flwr.supernode import start_client_internal

from fedtt.errors import FedttError
from fedtt.sites.flower import app_directory
from fedtt.sites.flower.app_directory import app_text, write_app
from fedtt.sites.flower.app_guard import REFUSED, check_app, refuse_other_apps

VERSION = "0.1.0"
# Flower's own way to say which files to pack.
BUILDS = pytest.mark.filterwarnings("ignore:GitWildMatchPattern:DeprecationWarning")


@pytest.fixture(autouse=True)
def _version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(app_directory, "__version__", VERSION)


def run_of(content: bytes, **changes: object) -> SimpleNamespace:
    known = {
        "primary_task_type": "flwr-serverapp",
        "fab_id": "fedtt/fedtt-sites",
        "fab_version": VERSION,
        "fab_hash": hashlib.sha256(content).hexdigest(),
    }
    return SimpleNamespace(**(known | changes))


def packed(files: Mapping[str, str], compression: int = zipfile.ZIP_STORED) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return stream.getvalue()


def ours(**more: str) -> bytes:
    return packed({"pyproject.toml": app_text(), ".info/CONTENT": "", **more})


@BUILDS
def test_our_app_as_flower_packs_it_is_taken(tmp_path: Path) -> None:
    content = build_fab_from_disk(write_app(tmp_path))
    check_app(content, run_of(content))


@BUILDS
def test_another_version_of_ours_is_left_to_the_comparison_at_join(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = build_fab_from_disk(write_app(tmp_path))
    monkeypatch.setattr(app_directory, "__version__", "0.2.0")
    check_app(content, run_of(content))


@pytest.mark.parametrize(
    "more",
    [
        {"evil.py": "import os"},
        {"fedtt/sites/flower/client_app.py": "app = evil"},
        {".info/../fedtt/__init__.py": "evil"},
        {".info\\..\\evil.py": "evil"},
        {".info/evil.py": "evil"},
        {"/tmp/evil.py": "evil"},
        {"sub/": ""},
    ],
)
def test_an_app_with_any_other_file_is_refused(more: dict[str, str]) -> None:
    content = ours(**more)
    with pytest.raises(FedttError, match=REFUSED):
        check_app(content, run_of(content))


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_with_damaged_data_is_refused(method: int) -> None:
    content = bytearray(packed({"pyproject.toml": app_text(), ".info/CONTENT": ""}, method))
    start = 30 + len("pyproject.toml")  # behind the first file's own header
    content[start : start + 16] = b"\xff" * 16
    with pytest.raises(FedttError, match=REFUSED):
        check_app(bytes(content), run_of(bytes(content)))


def test_an_encrypted_archive_is_refused() -> None:
    content = bytearray(ours())
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        content[content.index(header) + flags] |= 1
    with pytest.raises(FedttError, match=REFUSED):
        check_app(bytes(content), run_of(bytes(content)))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("fedtt.sites.flower.client_app:app", "os:system"),
        ("dependencies = []", 'dependencies = ["evil"]'),
        ("fedtt-sites", "other"),
        ('publisher = "fedtt"', 'publisher = "other"'),
        ("[tool.flwr.app.config]", "[tool.flwr.app.config]\nkey = 1"),
        ("[tool.flwr.app.config]", '[tool.uv]\nindex-url = "https://evil.example"'),
        ("[project]", "[other]"),
        ("[project]", "]"),
        ("[project]", "#" * 70_000 + "\n[project]"),
    ],
)
def test_an_app_that_says_anything_else_is_refused(old: str, new: str) -> None:
    assert old in app_text()
    content = packed({"pyproject.toml": app_text().replace(old, new), ".info/CONTENT": ""})
    with pytest.raises(FedttError, match=REFUSED):
        check_app(content, run_of(content))


@pytest.mark.parametrize(
    "changes",
    [
        {"primary_task_type": "flwr-agentapp"},
        {"primary_task_type": ""},
        {"fab_id": "fedtt/../../other"},
        {"fab_version": "../0.1.0"},
        {"fab_hash": "0" * 64},
        {"fab_hash": ""},
    ],
)
def test_a_run_that_says_anything_else_is_refused(changes: dict[str, object]) -> None:
    content = ours()
    check_app(content, run_of(content))
    with pytest.raises(FedttError, match=REFUSED):
        check_app(content, run_of(content, **changes))


@pytest.mark.parametrize("content", [b"", b"PK", b"not a zip" * 100])
def test_what_is_no_archive_is_refused(content: bytes) -> None:
    with pytest.raises(FedttError, match=REFUSED):
        check_app(content, run_of(content))


def test_a_supernode_ends_before_such_an_app_is_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    # What Flower calls between fetching an app and storing it.
    monkeypatch.setattr(
        start_client_internal, "get_fused_config_from_fab", lambda _content, _run: {"read": True}
    )
    refuse_other_apps()
    content = ours()
    assert start_client_internal.get_fused_config_from_fab(content, run_of(content)) == {
        "read": True
    }
    ended = []

    def end(_code: int, message: str) -> None:
        ended.append(message)
        raise SystemExit

    monkeypatch.setattr("flwr.supercore.exit.flwr_exit", end)
    refuse_other_apps()
    bad = ours(**{"evil.py": "import os"})
    with pytest.raises(SystemExit):
        start_client_internal.get_fused_config_from_fab(bad, run_of(bad))
    assert REFUSED in ended[0]


def test_a_flower_without_that_place_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(start_client_internal, "get_fused_config_from_fab")
    with pytest.raises(FedttError, match="not as it was tested"):
        refuse_other_apps()
