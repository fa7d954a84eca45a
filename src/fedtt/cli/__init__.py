"""The command line: parse, call, print. Nothing here imports torch before a verb needs it."""

import sys

from fedtt.errors import FedttError, InterruptedRunError

__all__ = ["main"]

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


def main() -> None:
    """Run the command line; own errors become one-screen messages and exit codes."""
    try:
        # Not at the top: a Ctrl-C while the parser is loading must not be a traceback either.
        from fedtt.cli.app import app
        from fedtt.cli.console import accept_any_character

        accept_any_character()
        app()
    except InterruptedRunError as error:
        _tell("stopped: ", str(error), style="bold yellow")
        sys.exit(EXIT_INTERRUPTED)
    except FedttError as error:
        _tell("error: ", str(error), style="bold red")
        sys.exit(EXIT_BAD_INPUT)
    except KeyboardInterrupt:
        sys.stderr.write("stopped\n")
        sys.exit(EXIT_INTERRUPTED)
    except SystemExit as end:
        if end.code == EXIT_INTERRUPTED:  # what typer makes of a Ctrl-C, silently
            sys.stderr.write("stopped\n")
        raise


def _tell(heading: str, message: str, *, style: str) -> None:
    from fedtt.cli.console import print_error

    print_error(heading, message, style=style)
