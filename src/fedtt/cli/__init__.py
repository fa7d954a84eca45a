"""The command line: parse, call, print. Nothing here imports torch before a verb needs it."""

import sys
import warnings

from fedtt.errors import FedttError, InterruptedRunError

__all__ = ["main"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; own errors become one-screen messages and exit codes."""
    # PEFT 0.21 reads a name that transformers 5 deprecates; a user can do nothing about it.
    warnings.filterwarnings("ignore", message=".is_gradient_checkpointing. is deprecated")
    try:
        # Not at the top: a Ctrl-C while the parser is loading must not be a traceback either.
        from fedtt.cli.app import app

        app()
    except InterruptedRunError as error:
        _tell("[bold yellow]stopped:[/]", str(error))
        sys.exit(EXIT_INTERRUPTED)
    except FedttError as error:
        _tell("[bold red]error:[/]", str(error))
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # what typer makes of a Ctrl-C, silently
            sys.stderr.write("stopped\n")
        raise


def _tell(prefix: str, message: str) -> None:
    from rich.markup import escape

    from fedtt.cli.console import errors_console

    errors_console().print(f"{prefix} {escape(message)}")
