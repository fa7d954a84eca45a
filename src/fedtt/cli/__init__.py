"""The command line: parse, call, print. Nothing here imports torch before a verb needs it."""

import sys
import warnings

from rich.markup import escape

from fedtt.cli.app import app
from fedtt.cli.console import errors_console
from fedtt.errors import FedttError, InterruptedRunError

__all__ = ["app", "main"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; own errors become one-screen messages and exit codes."""
    # PEFT 0.21 reads a name that transformers 5 deprecates; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
    try:
        app()
    except InterruptedRunError as error:
        errors_console().print(f"[bold yellow]stopped:[/] {escape(str(error))}")
        sys.exit(EXIT_INTERRUPTED)
    except FedttError as error:
        errors_console().print(f"[bold red]error:[/] {escape(str(error))}")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        errors_console().print("[bold yellow]stopped[/]")
        sys.exit(EXIT_INTERRUPTED)
