"""Tables for people."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import console, format_seconds, print_line


def print_start(out: Console, notes: tuple[str, ...], path: Path) -> None:
    """What is to be said before the first round; who sits at a terminal may look at more."""
    print_notes(out, notes)
    if out.is_terminal:
        print_line(out, f"in a browser: fedtt watch {path}", style="dim")


def print_notes(out: Console, notes: tuple[str, ...]) -> None:
    """Everything that was left out, moved or cut, one line each."""
    for note in notes:
        print_line(out, f"note: {note}", style="dim")


def print_result(summary: dict[str, Any], *, path: Path) -> None:
    """The score of every client before, alone and federated; bytes; where everything lies."""
    out = console()
    out.print()
    if summary["test"] is None:
        out.print("the test split was not looked at (evaluation.test = false)")
    else:
        out.print(_score_table(summary))
    sent = summary["uplink_bytes"] + summary["downlink_bytes"]
    reference = summary["lora_reference"]
    out.print(
        f"sent in all: {format_bytes(sent)} "
        f"(up {format_bytes(summary['uplink_bytes'])}, "
        f"down {format_bytes(summary['downlink_bytes'])}; "
        f"{_message(summary)})"
    )
    if reference is not None and summary["method"] != "lora":
        lora_sent = reference["uplink_bytes"] + reference["downlink_bytes"]
        out.print(
            f"FedAvg with LoRA r=8 would have sent: {format_bytes(lora_sent)} "
            f"({lora_sent / sent:.1f} times as much)"
        )
    for client, reason in summary.get("left_out", {}).items():
        print_line(out, f"left out: {client}: {reason}")
    for kind in ("privacy", "example_privacy"):
        for line in _privacy_lines(summary.get(kind)):
            print_line(out, line)
    out.print(f"{summary['rounds']} rounds in {format_seconds(summary['seconds'])}")
    print_line(out, f"run: {path}  (summary.json, rounds.jsonl, adapter/)")


def _privacy_lines(privacy: dict[str, Any] | None) -> list[str]:
    """What is guaranteed to every client or example, and why the rounds ended early."""
    if privacy is None:
        return []
    guarantee = (
        f"{privacy['level']}-level differential privacy: epsilon {privacy['epsilon']:.3f} at delta "
        f"{privacy['delta']:g} ({privacy['neighbors']})"
    )
    return [guarantee, *([f"stopped: {privacy['stopped']}"] if privacy["stopped"] else [])]


def _message(summary: dict[str, Any]) -> str:
    """What a message holds."""
    total, numbers = summary["exchanged_parameters"]["total"], summary["subspace_numbers"]
    if numbers is None:
        return f"{total:,} parameters a message"
    return f"{numbers:,} numbers a message, which move {total:,} parameters"


def _score_table(summary: dict[str, Any]) -> Table:
    columns = {
        "before": summary["before"],
        "alone": summary["alone"],
        "federated": summary["test"],
    }
    score = summary["score"]["name"]
    shown = {title: metrics[score] for title, metrics in columns.items() if metrics}
    table = Table(title=f"test {score}", title_justify="left")
    table.add_column("client")
    for title in shown:
        table.add_column(title, justify="right")
    # Clients that were trained alone, and "all" where the federation has one test set.
    rows = dict.fromkeys(name for values in shown.values() for name in values if name != "mean")
    for name in rows:
        cells = (f"{values[name]:.4f}" if name in values else "" for values in shown.values())
        table.add_row(name, *cells)
    table.add_section()
    table.add_row("mean", *(f"{values['mean']:.4f}" for values in shown.values()), style="bold")
    return table
