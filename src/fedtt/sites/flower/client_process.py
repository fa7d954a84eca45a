"""What runs in the process of a client app. Imported before it is forked: see ``superexec``."""

import sys
from collections.abc import Sequence

from flwr.supernode.cli import flwr_clientapp

COMMAND = "flwr-clientapp"


def run_client_process(argv: Sequence[str]) -> None:
    """Do as Flower's command with these arguments would."""
    sys.argv = list(argv)
    flwr_clientapp()
