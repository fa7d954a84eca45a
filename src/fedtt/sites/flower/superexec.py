"""Flower's SuperExec at a site: ``python -m fedtt.sites.flower.superexec ...``.

As Flower's own command, but for one thing. Flower starts ``flwr-clientapp`` for every message, and
its imports take longer than the rest of a round. Here that process is forked from one that has done
them.
"""

import multiprocessing
import subprocess
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fedtt.sites.flower import client_process
from fedtt.sites.flower.client_process import COMMAND, run_client_process
from fedtt.sites.flower.version import not_as_tested

PRELOADED = (client_process.__name__, "fedtt.sites.flower.client_app")


def fork_client_apps() -> None:
    """From now on the SuperExec of this process forks its client apps."""
    from flwr.supercore.superexec.executor import subprocess_executor as launcher

    if getattr(launcher, "subprocess", None) is not subprocess:
        raise not_as_tested("flwr.supercore.superexec", part="Flower's SuperExec")
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(list(PRELOADED))

    def start(argv: Sequence[str], **outputs: Any) -> None:
        if argv[0] == COMMAND and not outputs:
            # A daemon: it is stopped with this process, which would else wait for its end.
            client = context.Process(target=run_client_process, args=(list(argv),), daemon=True)
            try:
                client.start()
            except (OSError, EOFError):  # its socket's path is too long, or what forks was killed
                subprocess.Popen(argv)
        else:
            subprocess.Popen(argv, **outputs)

    launcher.subprocess = SimpleNamespace(Popen=start, DEVNULL=subprocess.DEVNULL)


def main() -> None:
    """Run it."""
    from flwr.supercore.cli import flower_superexec

    fork_client_apps()
    flower_superexec()


if __name__ == "__main__":
    main()
