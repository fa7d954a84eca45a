"""Starts a SuperLink or a SuperNode of Flower: ``python -m fedtt.engine.flower.launch KIND ...``.

As Flower's own commands, but for three things. A process whose parent is gone ends itself, so that
nothing is left behind whatever happens to ``fedtt serve`` or ``fedtt join``. A SuperNode looks for
messages four times a second: every 3 s, as it is written in Flower's loop, makes most of what a
round takes. And it runs no app but fedtt's. ``version`` keeps this to releases of Flower whose
loop is known.
"""

import sys
import time
from types import SimpleNamespace

from fedtt.engine.flower.app_guard import refuse_other_apps
from fedtt.engine.flower.ending import end_with_parent
from fedtt.engine.flower.version import check_flower
from fedtt.errors import FedttError

LOOK_EVERY = 0.25


def look_often() -> None:
    """Make the SuperNode's loop sleep shorter between two looks."""
    from flwr.supernode import start_client_internal as loop

    if getattr(loop, "time", None) is not time:
        raise FedttError(
            "Flower's SuperNode is not as it was tested", where="flwr.supernode, module time"
        )
    loop.time = SimpleNamespace(sleep=lambda seconds: time.sleep(min(seconds, LOOK_EVERY)))


def main() -> None:
    """Run the kind of process that the first argument names."""
    kind = sys.argv.pop(1)
    check_flower()
    end_with_parent()
    if kind == "superlink":
        from flwr.superlink.cli import flower_superlink

        flower_superlink()
    elif kind == "supernode":
        look_often()
        refuse_other_apps()
        from flwr.supernode.cli import flower_supernode

        flower_supernode()
    else:
        raise FedttError("no such process", got=kind, expected="superlink or supernode")


if __name__ == "__main__":
    main()
