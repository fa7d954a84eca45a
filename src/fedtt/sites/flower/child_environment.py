"""The environment of what this process starts: nothing on this machine is behind a proxy."""

import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedtt.sites.address import LOOPBACK_NAME
from fedtt.sites.ports import HERE

LOOPBACK = (LOOPBACK_NAME, HERE, "::1")
NO_PROXY = ("NO_PROXY", "no_proxy", "no_grpc_proxy")


def without_proxy(env: Mapping[str, str], *hosts: str) -> dict[str, str]:
    """The environment in which nothing goes through a proxy to this machine, or to ``hosts``."""
    said = [host.strip() for name in NO_PROXY for host in env.get(name, "").split(",")]
    direct = ",".join(dict.fromkeys(host for host in [*LOOPBACK, *hosts, *said] if host))
    return {**env, **dict.fromkeys(NO_PROXY, direct)}


def flower_environment(home: Path, *, direct: Sequence[str] = (), **more: str) -> dict[str, str]:
    """The environment of Flower's processes: private files, no calls home, our commands found.

    No proxy stands between them and this machine, nor the hosts ``direct``.
    """
    here = str(Path(sys.executable).parent)
    return {
        **without_proxy(os.environ, *direct),
        "PATH": os.pathsep.join([here, os.environ.get("PATH", os.defpath)]),
        "FLWR_HOME": str(home),
        "FLWR_TELEMETRY_ENABLED": "0",
        "FLWR_DISABLE_UPDATE_CHECK": "1",
        "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "0.2",
        "PYTHONUNBUFFERED": "1",
        **more,
    }


@contextmanager
def direct_connections() -> Iterator[None]:
    """Within the block this process too reaches its own machine without a proxy."""
    before = {name: os.environ.get(name) for name in NO_PROXY}
    os.environ.update(without_proxy(os.environ))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
