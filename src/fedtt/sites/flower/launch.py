"""Starts a SuperLink or a SuperNode: ``python -m fedtt.sites.flower.launch KIND DOOR ...``.

As Flower's own commands, but for seven things. It listens on the socket whose number is ``DOOR``,
which is bound already. What it logs of others is escaped and cut short. A process whose parent is
gone ends itself, so that nothing is left behind whatever happens to ``fedtt serve`` or ``fedtt
join``. A SuperNode looks for messages four times a second: every 3 s, as it is written in Flower's
loop, makes most of what a round takes. It asks soon for what was announced (``pull_pace``), and its
client apps are forked (``superexec``). And it runs no app but fedtt's. ``version`` keeps this to
releases of Flower whose loop is known.
"""

import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

from fedtt.errors import FedttError
from fedtt.sites.flower.app_guard import refuse_other_apps
from fedtt.sites.flower.process_ending import end_with_parent
from fedtt.sites.flower.pull_pace import pull_soon
from fedtt.sites.flower.version import SUPERNODE, check_flower, not_as_tested
from fedtt.sites.peer_text import guard_log_messages

LOOK_EVERY = 0.25
SUPEREXEC = "flower-superexec"


def hurry() -> None:
    """Make the SuperNode's loop sleep shorter between two looks, and client apps start faster."""
    from flwr.supernode import start_client_internal as loop

    for module in (time, subprocess):
        if getattr(loop, module.__name__, None) is not module:
            raise not_as_tested(f"flwr.supernode, module {module.__name__}", part=SUPERNODE)

    def start(command: Sequence[str]) -> None:
        if command[0] != SUPEREXEC:
            raise not_as_tested("flwr.supernode, a command", part=SUPERNODE, got=command[0])
        subprocess.Popen([sys.executable, "-m", "fedtt.sites.flower.superexec", *command[1:]])

    loop.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, LOOK_EVERY)))
    loop.subprocess = SimpleNamespace(Popen=start)


def listen_on(door: socket.socket) -> None:
    """Make the one HTTP server of this process listen on a socket that is bound already."""
    import uvicorn

    run = uvicorn.Server.run

    def run_there(self: Any, sockets: Any = None) -> None:
        run(self, sockets=sockets or [door])

    uvicorn.Server.run = run_there  # type: ignore


def main() -> None:
    """Run the kind of process that the first argument names, on the socket of the second."""
    kind, door = sys.argv.pop(1), int(sys.argv.pop(1))
    check_flower()
    end_with_parent()
    guard_log_messages()
    listen_on(socket.socket(fileno=door))
    if kind == "superlink":
        from flwr.superlink.cli import flower_superlink

        flower_superlink()
    elif kind == "supernode":
        hurry()
        pull_soon()
        refuse_other_apps()
        from flwr.supernode.cli import flower_supernode

        flower_supernode()
    else:
        raise FedttError("no such process", got=kind, expected="superlink or supernode")


if __name__ == "__main__":
    main()
