"""``fedtt runs``: what lies in a directory of runs."""

from datetime import datetime
from pathlib import Path
from typing import Any

from rich.table import Table

from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import console, print_error, print_json

COLUMNS = ("run", "state", "method", "rounds", "result", "up", "down", "epsilon", "changed")
LEFT = {"run", "state", "method", "result", "changed"}


def runs_command(place: Path, *, deep: bool, as_json: bool) -> None:
    """Print a row a run, the one that was written last at the end."""
    from fedtt.experiment.run_rows import rows_at

    rows = sorted(rows_at(place, deep=deep), key=lambda row: row.get("changed", ""))
    if as_json:
        print_json({"runs": rows})
        return
    out = console()
    if not rows:
        out.print(f"no runs in {place}", markup=False)
        return
    table = Table()
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in LEFT else "right")
    for row in rows:
        table.add_row(*_cells(row, place))
    out.print(table)
    for row in rows:
        if "problem" in row:
            print_error("note: ", row["problem"], style="dim")


def _cells(row: dict[str, Any], place: Path) -> list[str]:
    path = Path(row["run"])
    inside = path.is_relative_to(place.absolute()) and path != place.absolute()
    name = str(path.relative_to(place.absolute()) if inside else path)
    if "problem" in row:
        return [name, row["state"], *[""] * (len(COLUMNS) - 2)]
    epsilons = [f"{row[key]:.3g}" for key in ("epsilon", "example_epsilon") if key in row]
    return [
        name,
        row["state"],
        row["method"],
        f"{row['rounds']}/{row['of_rounds']}",
        _result(row),
        format_bytes(row["uplink_bytes"]),
        format_bytes(row["downlink_bytes"]),
        ", ".join(epsilons),
        f"{datetime.fromisoformat(row['changed']).astimezone():%Y-%m-%d %H:%M}",
    ]


def _result(row: dict[str, Any]) -> str:
    """The score that counts; nothing before the end, or where the test split was not looked at."""
    score = row.get("score")
    value = row.get(f"test_{score}")
    return "" if value is None else f"{score} {value:.4f}"
