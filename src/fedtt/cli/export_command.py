"""``fedtt export``: a run's model for somebody else."""

from pathlib import Path

from fedtt.cli.console import console, print_json, print_line
from fedtt.cli.saved_run_commands import note_state
from fedtt.run_place import check_run


def export_command(run: Path, out: Path, *, name: str, as_json: bool) -> None:
    """Write it, and print what was checked of it."""
    check_run(run)
    from fedtt.experiment.exports import export_run

    note_state(run)
    checked = export_run(run, out, name=name)
    files = sorted(path.name for path in out.iterdir())
    if as_json:
        print_json({"out": str(out), "format": name, "files": files, "checked": checked})
        return
    for line in checked:
        print_line(console(), line)
    print_line(console(), f"{out}: {', '.join(files)}")
