"""A site runs the app of the installed fedtt, whatever its server asks for.

Flower sends an app to every site and runs it there: whoever commands the server, or reaches its
Control API, could run any code on every site. Ours holds no code (see
:mod:`fedtt.sites.flower.app_directory`), so a site can tell it from every other.
"""

import hashlib
import io
import lzma
import tomllib
import zipfile
import zlib
from typing import Any

from fedtt.errors import FedttError
from fedtt.sites.flower.app_directory import app_text
from fedtt.sites.flower.version import SUPERNODE, not_as_tested

PROJECT = "pyproject.toml"
FILES = (PROJECT, ".info/CONTENT")  # the second one is Flower's list of the others
MAX_TEXT = 2**16
KIND = "flwr-serverapp"  # of a run that has a server app and client apps
# What zipfile and its decompressors raise for damaged, encrypted and unknown archives, and what
# decoding and parsing the text raise (ValueError).
UNREADABLE = (
    zipfile.BadZipFile,
    zlib.error,
    lzma.LZMAError,
    EOFError,
    OSError,
    RuntimeError,
    ValueError,
)
REFUSED = "the server asks for another app than fedtt's"


def check_app(content: bytes, run: Any) -> None:
    """Raise :class:`FedttError` unless the app (a FAB) of Flower's ``run`` is fedtt's own."""
    if run.primary_task_type != KIND:
        raise _refused(f"a run of kind {run.primary_task_type!r}")
    if hashlib.sha256(content).hexdigest() != run.fab_hash:
        raise _refused("an app that is not the one announced")
    own, project = tomllib.loads(app_text()), _project(content)
    told = (run.fab_id, run.fab_version)
    name, version = own["project"]["name"], project.get("project", {}).get("version")
    if told != (f"{own['tool']['flwr']['app']['publisher']}/{name}", version):
        raise _refused(f"{told[0]} {told[1]}")
    # What differs between versions of fedtt is compared, and shown, when a site joins.
    for table in (own, project):
        table["project"].pop("version")
    if project != own:
        raise _refused(f"{PROJECT} says {project}"[:500])


def refuse_other_apps() -> None:
    """From now on the SuperNode of this process ends when it is asked to run another app."""
    from flwr.supercore.exit import ExitCode, flwr_exit
    from flwr.supernode import start_client_internal as loop

    fuse = getattr(loop, "get_fused_config_from_fab", None)
    if fuse is None:
        raise not_as_tested("flwr.supernode, reading an app", part=SUPERNODE)

    def checked(content: bytes, run: Any) -> Any:
        # Called for every new run, after its app has come and before it is stored.
        try:
            check_app(content, run)
        except FedttError as error:
            flwr_exit(ExitCode.SUPERNODE_INVALID_TRUSTED_ENTITIES, str(error))
        return fuse(content, run)

    loop.get_fused_config_from_fab = checked


def _project(content: bytes) -> dict[str, Any]:
    """The one file of an app that holds no code, read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if sorted(names) != sorted(FILES):
                raise _refused(f"files {names}"[:500])
            size = archive.getinfo(PROJECT).file_size
            if size > MAX_TEXT:
                raise _refused(f"{PROJECT} of {size} bytes")
            project = tomllib.loads(archive.read(PROJECT).decode("utf-8"))
    except UNREADABLE as error:
        raise _refused(error) from error
    if not isinstance(project.get("project"), dict):
        raise _refused(f"{PROJECT} without a project")
    project["project"].setdefault("version", None)
    return project


def _refused(got: object) -> FedttError:
    return FedttError(
        REFUSED,
        got=got,
        expected="the app of this version of fedtt, which holds no code",
        fix="install the server's version of fedtt on this site, and trust no server that you "
        "do not know",
    )
