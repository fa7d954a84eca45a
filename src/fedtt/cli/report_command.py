"""``fedtt report``, and the report that every run and comparison leaves."""

from pathlib import Path

from fedtt.cli.console import console, print_error, print_json, print_line


def report_command(places: list[Path], *, out: Path | None, as_json: bool) -> None:
    """Write it and say where it lies."""
    from fedtt.report import write_report

    path = write_report(places, out)
    if as_json:
        print_json({"report": str(path)})
    else:
        print_line(console(), str(path))


def leave_report(place: Path, *, silent: bool) -> None:
    """Write the report into the directory of what has ended, and say where it lies.

    Whatever goes wrong with it, what it tells of has not: one line says so.
    """
    try:
        from fedtt.report import write_report

        path = write_report([place])
    except Exception as error:  # a picture must not make a run fail
        if not silent:
            reason = " ".join(str(error).split()) or type(error).__name__
            print_error("note: ", f"no report was written: {reason}", style="dim")
        return
    if not silent:
        print_line(console(), f"report: {path}")
