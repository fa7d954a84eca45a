"""``fedtt data preview``: who holds what."""

from dataclasses import asdict
from pathlib import Path

from rich.table import Table

from fedtt.cli.console import console, print_json
from fedtt.cli.report import print_notes
from fedtt.config import load_config

BAR_WIDTH = 20


def preview_command(config_path: Path, *, overrides: list[str], as_json: bool) -> None:
    """Print every client's examples by split, the share of each label, and typical length."""
    config = load_config(config_path, overrides=overrides)
    from fedtt.data import describe
    from fedtt.engine.data import build_data

    data = build_data(config.data)
    rows = describe(data)
    if as_json:
        clients = [{**asdict(row), "label_shares": dict(row.label_shares)} for row in rows]
        print_json({"data": data.name, "clients": clients, "notes": list(data.notes)})
        return
    table = Table(title=data.name, title_justify="left")
    for column in ("client", "train", "validation", "test", "words", *data.label_names):
        table.add_column(column, justify="left" if column == "client" else "right")
    for row in rows:
        shares = (_bar(row.label_shares[name]) for name in data.label_names)
        counts = (f"{count:,}" for count in (row.train, row.validation, row.test))
        table.add_row(row.client_id, *counts, f"{row.median_words:.0f}", *shares)
    out = console()
    out.print(table)
    print_notes(out, data.notes)


def _bar(share: float) -> str:
    return f"{'█' * round(share * BAR_WIDTH)} {share:.2f}"
