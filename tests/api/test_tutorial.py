"""docs/tutorial.ipynb runs from top to bottom, with a smaller model; and shows what it says."""

import ast
import json
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

NOTEBOOK = json.loads(Path("docs/tutorial.ipynb").read_text(encoding="utf-8"))
CODE = ["".join(c["source"]) for c in NOTEBOOK["cells"] if c["cell_type"] == "code"]


def shown_by(cell: str, names: dict[str, Any]) -> Any:
    """The value of a cell's last expression, as a notebook shows it."""
    *before, last = ast.parse(cell).body
    if not isinstance(last, ast.Expr):
        before, last = [*before, last], None  # type: ignore[assignment]
    exec(compile(ast.Module(before, []), "cell", "exec"), names)
    return last and eval(compile(ast.Expression(last.value), "cell", "eval"), names)


def test_it_is_kept_without_outputs() -> None:
    code = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)


@pytest.mark.slow
def test_it_runs(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, Any] = {}
    shown = [shown_by(cell.replace('"minilm"', repr(str(tiny_bert))), names) for cell in CODE]
    held, _, results, rounds, picture, page, answers, model, costs = shown
    assert (held == 15).all(axis=None)
    assert set(results.index) == {"books", "films", "games", "mean"}
    assert list(rounds.index) == [1, 2, 3]
    assert picture._repr_png_().startswith(b"\x89PNG")
    assert page.name == "report.html"
    assert "<html" in page.read_text(encoding="utf-8")
    assert len(answers) == 2
    assert "Peft" in model
    assert isinstance(costs, pd.DataFrame)
