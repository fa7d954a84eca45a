"""``fedtt data preview``: who holds what."""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from fedtt.cli.console import console, print_json, writable
from fedtt.cli.terminal_tables import print_notes
from fedtt.config import load_config

if TYPE_CHECKING:
    from fedtt.data import ClientPreview, Distribution, PopulationPreview

BAR_WIDTH = 20
COMMONEST = 3
MAX_LABELS = 10  # with more labels, each client shows its commonest ones alone
MAX_ROWS = 30  # with more clients, a picture of all of them says more than a row for each


def preview_command(config_path: Path, *, overrides: list[str], as_json: bool) -> None:
    """Print every client's examples by split, the share of each label, and typical length.

    Of many clients, how their sizes and label skews are spread.
    """
    config = load_config(config_path, overrides=overrides)
    from fedtt.data import describe, describe_shared, summarize_clients
    from fedtt.engine.data import build_data

    data = build_data(config.data, config.partition, config.task)
    rows, shared, summary = describe(data), describe_shared(data), summarize_clients(data)
    if as_json:
        print_json(
            {
                "data": data.name,
                "clients": [_plain(row) for row in rows],
                "shared": None if shared is None else _plain(shared),
                "summary": asdict(summary),
                "notes": list(data.notes),
            }
        )
        return
    out = console()
    if len(rows) > MAX_ROWS:
        if shared is not None:
            out.print(_clients_table(data.name, [], shared, data.label_names))
        _print_summary(out, summary)
    else:
        out.print(_clients_table(data.name, rows, shared, data.label_names))
    print_notes(out, data.notes)


def _plain(row: "ClientPreview") -> dict[str, Any]:
    return {**asdict(row), "label_shares": dict(row.label_shares)}


def _clients_table(
    title: str,
    rows: list["ClientPreview"],
    shared: "ClientPreview | None",
    label_names: Iterable[str],
) -> Table:
    table = Table(title=title, title_justify="left")
    table.add_column("client")
    table.add_column("train", justify="left")
    for column in ("validation", "test", "words"):
        table.add_column(column, justify="right")
    names = tuple(label_names)
    for name in names if len(names) <= MAX_LABELS else [f"commonest of {len(names):,} labels"]:
        table.add_column(name, justify="left")
    most = max((row.train for row in rows), default=0)
    for row in [*rows, *([shared] if shared else [])]:
        if row is shared:
            table.add_section()
        table.add_row(
            row.client_id if row is not shared else f"{row.client_id} (shared)",
            "" if row is shared else f"{row.train:>7,} {_bar(row.train, most)}",
            f"{row.validation:,}",
            f"{row.test:,}",
            f"{row.median_words:.0f}",
            *_label_cells(row),
        )
    return table


def _label_cells(row: "ClientPreview") -> list[str]:
    if len(row.label_shares) <= MAX_LABELS:
        return [f"{share:.2f} {_bar(share, 1)}" for share in row.label_shares.values()]
    ranked = sorted(row.label_shares.items(), key=lambda item: -item[1])[:COMMONEST]
    return [", ".join(f"{name} {share:.2f}" for name, share in ranked if share)]


def _print_summary(out: Console, summary: "PopulationPreview") -> None:
    sizes, shares = summary.sizes, summary.majority_shares
    out.print(
        f"{summary.clients:,} clients, training examples of each: {sizes.smallest:,.0f} to "
        f"{sizes.largest:,.0f}, median {sizes.median:,.0f}"
    )
    out.print(_histogram(sizes, column="training examples", whole=True))
    out.print(
        f"share of each client's commonest label: {shares.smallest:.2f} to {shares.largest:.2f}, "
        f"median {shares.median:.2f}; {summary.single_class:,} clients have one class only"
    )
    out.print(_histogram(shares, column="commonest label", whole=False))


def _histogram(spread: "Distribution", *, column: str, whole: bool) -> Table:
    table = Table()
    table.add_column(column, justify="right")
    table.add_column("clients")
    most = max(spread.counts)
    for low, high, count in zip(spread.edges[:-1], spread.edges[1:], spread.counts, strict=True):
        if whole:
            last = high - 1  # whole numbers: the bin from 10 to below 20 ends with 19
            label = f"{low:,.0f}" if last == low else f"{low:,.0f} to {last:,.0f}"
        else:
            label = f"{low:.1f} to {high:.1f}"
        table.add_row(label, f"{count:>7,} {_bar(count, most)}")
    return table


def _bar(value: float, most: float) -> str:
    return writable("█") * round(BAR_WIDTH * value / most) if most else ""
