"""``fedtt init``: a configuration for a data file, with a comment at every line."""

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import tomli_w
import typer

from fedtt.atomic_write import name_beside, replace_file
from fedtt.cli.console import console, print_json, print_line
from fedtt.config import load_config
from fedtt.data.tables import Table, read_table
from fedtt.errors import ConfigError
from fedtt.methods import method_entry

COLUMNS = {
    "text_column": ("text", "sentence", "review", "content", "message", "comment", "body"),
    "label_column": ("label", "labels", "class", "category", "target", "sentiment", "stars"),
    "client_column": ("client", "client_id", "silo", "site", "owner", "user", "source"),
}
FALLBACK_CLIENT = "client"
CLIENTS_OF_ONE = 4


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What was given; None where the command asks, or chooses."""

    data: Path | None
    text_column: str | None = None
    label_column: str | None = None
    client_column: str | None = None
    model: str | None = None
    method: str | None = None
    out: Path | None = None


def init_command(wanted: Wanted, *, overwrite: bool, as_json: bool) -> None:
    """Write the configuration, once it is known to be one."""
    asks = sys.stdin.isatty() and not as_json
    data = wanted.data or (Path(typer.prompt("data file")) if asks else None)
    if data is None:
        raise ConfigError("no data file", where="--data", expected="a .csv, .jsonl or .parquet")
    names = read_table(data, ()).names
    columns = _columns(wanted, names, asks=asks)
    table = read_table(data, {columns["label_column"], columns["client_column"]})
    chosen = replace(
        wanted,
        data=data,
        text_column=columns["text_column"],
        label_column=columns["label_column"],
        client_column=columns["client_column"],
        model=wanted.model or (typer.prompt("base model", "minilm") if asks else "minilm"),
        method=wanted.method or (typer.prompt("method", "fedtt") if asks else "fedtt"),
        out=wanted.out or Path(f"{data.stem}.toml"),
    )
    out = chosen.out or Path()
    if out.exists() and not overwrite:
        raise ConfigError(
            "there is something at that place already",
            where="--out",
            got=out,
            fix="give another name, or --overwrite",
        )
    try:
        method_entry(chosen.method or "")
    except ValueError as error:
        raise ConfigError(str(error), where="--method") from error
    text = configuration(chosen, table)
    try:
        _check(text, out)
        replace_file(out, text.encode())
    except OSError as error:
        raise ConfigError("cannot write the configuration", where=str(out), got=error) from error
    if as_json:
        print_json({"out": str(out), "rows": len(table.places), "columns": list(names)})
        return
    print_line(console(), f"{out}; next: fedtt data preview {out}, fedtt train {out}")


def _columns(wanted: Wanted, names: Sequence[str], *, asks: bool) -> dict[str, str]:
    found = {}
    for key, usual in COLUMNS.items():
        given = getattr(wanted, key)
        by_name = {name.casefold(): name for name in reversed(names)}
        guess = next((by_name[name] for name in usual if name in by_name), None)
        if given is None and key == "client_column":
            given = guess or FALLBACK_CLIENT
        elif given is None:
            what = key.replace("_", " ")
            given = typer.prompt(what, guess) if asks else guess
        of_nobody = key == "client_column" and given == FALLBACK_CLIENT
        if given is None or (given not in names and not of_nobody):
            raise ConfigError(
                "the column is not in the file" if given else "which column is it?",
                where=f"--{key.replace('_', '-')}",
                got=given,
                expected=f"one of {', '.join(map(repr, names))}",
            )
        found[key] = given
    return found


def configuration(chosen: Wanted, table: Table) -> str:
    """The file's text; its data path is relative to its folder, as it will be read."""
    data, out = chosen.data or Path(), chosen.out or Path()
    place = os.path.relpath(data.absolute(), out.absolute().parent)
    model = chosen.model or ""
    if Path(model).exists():
        model = str(Path(model).absolute())
    labels = _distinct(table, chosen.label_column)
    clients = _distinct(table, chosen.client_column)
    partition = [] if len(clients) > 1 else _partition()
    return "\n".join(
        [
            f"# fedtt train {out.name}; docs/configuration.md has every key.",
            "seed = 0      # of everything that is drawn",
            "rounds = 10",
            "",
            "[model]",
            f"name = {_toml(model)}     # an alias, a hub id, a directory or a .gguf file",
            "max_length = 64     # tokens of a text that are read; the rest is cut",
            "",
            "[data]",
            f"path = {_toml(place)}     # {len(table.places):,} rows",
            f"text_column = {_toml(chosen.text_column)}",
            f"label_column = {_toml(chosen.label_column)}     # {len(labels):,} classes",
            f"client_column = {_toml(chosen.client_column)}     # {_clients(clients)}",
            "validation = 0.1    # share of each client's texts",
            "test = 0.15",
            "",
            *partition,
            "[method]",
            f"name = {_toml(chosen.method)}     # docs/methods.md lists them",
            "",
            "[client]",
            "steps = 10          # local steps a round",
            "batch_size = 16",
            "learning_rate = 1e-2",
            "",
        ]
    )


def _toml(text: str | None) -> str:
    """The text as a value of TOML, whose strings are not quite those of JSON."""
    return tomli_w.dumps({"v": text or ""}).removeprefix("v = ").rstrip("\n")


def _distinct(table: Table, column: str | None) -> set[str]:
    return {str(value) for value in table.columns.get(column or "", ())}


def _clients(clients: set[str]) -> str:
    return f"{len(clients):,} clients" if clients else "not in the file: one client"


def _partition() -> list[str]:
    """Where the file names nobody: clients of like data, to try it out."""
    return [
        "[partition]         # the file is of one holder: dealt out at random, to try it",
        'kind = "iid"',
        f"clients = {CLIENTS_OF_ONE}",
        "",
    ]


def _check(text: str, out: Path) -> None:
    """Read it back from beside its place. Raises :class:`ConfigError` for what is wrong in it."""
    beside = name_beside(out, suffix="toml")
    replace_file(beside, text.encode())
    try:
        load_config(beside)
    finally:
        beside.unlink(missing_ok=True)
