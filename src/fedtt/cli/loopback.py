"""``fedtt train --engine flower``: server and sites on this machine, to try out a federation."""

import os
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fedtt.cli.over_flower import run_over_flower
from fedtt.errors import ConfigError

if TYPE_CHECKING:
    from fedtt.experiment import BegunRun
    from fedtt.sites.address import Address
    from fedtt.sites.data_shares import Share
    from fedtt.sites.flower.child_processes import Child

MOST_BY_DEFAULT = 4


def train_on_loopback(
    begun: "BegunRun", *, sites: int | None, silent: bool, stop: threading.Event
) -> dict[str, Any]:
    """The summary of the run, its clients dealt out to so many sites of this machine."""
    from fedtt.sites.data_shares import Share
    from fedtt.sites.ports import any_port, bind_port

    clients = begun.federation.population
    count = min(MOST_BY_DEFAULT, len(clients)) if sites is None else sites
    if count > len(clients):
        raise ConfigError(
            "more sites than clients",
            where="--sites",
            got=count,
            expected=f"at most {len(clients)}",
        )
    shares = {f"site-{index}": Share(index=index, count=count) for index in range(count)}
    with (
        bind_port(any_port()) as port,
        _started(shares, address=port.address, logs=begun.directory.path),
    ):
        return run_over_flower(
            begun,
            port=port,
            keys=None,
            expected={name: share.of(clients) for name, share in shares.items()},
            silent=silent,
            stop=stop,
        )


@contextmanager
def _started(
    shares: "Mapping[str, Share]", *, address: "Address", logs: Path
) -> Iterator[list["Child"]]:
    """A ``fedtt join`` for every share, for the duration of the block."""
    from fedtt.sites.flower.child_processes import start

    threads = max(1, (os.cpu_count() or 1) // len(shares))
    env = {"OMP_NUM_THREADS": str(threads), **os.environ}
    with ExitStack() as stack:
        children = []
        for name, share in shares.items():
            argv = [sys.executable, "-m", "fedtt", "join", "--server", str(address)]
            argv += ["--name", name, "--share", str(share), "--logs", str(logs / name)]
            argv += ["--state", str(logs / name)]
            (logs / name).mkdir(exist_ok=True)
            child = start(name, argv, log=logs / name / "join.log", env=env)
            stack.callback(child.stop)
            children.append(child)
        yield children
