"""``fedtt presets``: the configurations that a CONFIG can name."""

import re
from pathlib import Path
from typing import Any

import typer
from rich.table import Table

from fedtt.cli.console import console, print_json
from fedtt.config.parse import read_table
from fedtt.preset_files import preset_files


def presets_command(name: str | None, *, as_json: bool) -> None:
    """Print what each is about and takes its data from; or the text of one."""
    if name is not None:
        text = preset_files()[name].read_text(encoding="utf-8")
        if as_json:
            print_json({"name": name, "text": text})
        else:
            typer.echo(text, nl=False)
        return
    rows = [_row(known, preset_files()[known]) for known in preset_files()]
    if as_json:
        print_json({"presets": rows})
        return
    table = Table()
    for column in ("preset", "what", "data"):
        table.add_column(column)
    for row in rows:
        table.add_row(row["name"], row["about"], row["source"] or _options(row["files"]))
    console().print(table)


def _row(name: str, path: Path) -> dict[str, Any]:
    text = path.read_text(encoding="utf-8")
    data = read_table(path)["data"]
    return {
        "name": name,
        "about": _first_sentence(text),
        "source": data.get("source"),
        "files": [f"data.{key}" for key in data if key.endswith("path")],
        "path": str(path),
    }


def _first_sentence(text: str) -> str:
    """Of the comment that the file begins with."""
    comment = re.match(r"(#.*\n)+", text)
    words = re.sub(r"(?m)^#\s*|\s*\n\s*#?\s*", " ", comment[0]).split() if comment else []
    return " ".join(words).split(". ")[0].rstrip(".")


def _options(files: list[str]) -> str:
    return " ".join(f"--set {key}=FILE" for key in files)
