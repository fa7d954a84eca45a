"""Imports point only down; and the check that says so can fail."""

import ast
from pathlib import Path

import pytest

import fedtt

LAYERS = {
    "_version": 0,
    "errors": 0,
    "atomic_write": 0,
    "registry": 1,
    "trackers": 2,
    "section": 1,
    "seeds": 0,
    "strict_json": 0,
    "_peft_hook": 0,
    "params": 1,
    "tt": 2,
    "peft": 3,
    "federated": 4,
    "methods": 5,
    "data": 5,
    "models": 5,
    "metrics": 5,
    "config": 6,
    "tasks": 6,
    "engine": 7,
    "experiment": 8,
    "cli": 9,
}
SOURCE = Path(fedtt.__file__).parent
FACE = {"__init__", "__main__"}  # the public face looks down on everything


def part_of(path: Path, root: Path) -> str:
    return path.relative_to(root).parts[0].removesuffix(".py")


def imported_parts(path: Path) -> set[str]:
    """Top-level parts of fedtt that a file imports, at its top or inside functions."""
    parts: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
            if node.module == "fedtt":
                names = [f"fedtt.{alias.name}" for alias in node.names]
        else:
            continue
        parts |= {name.split(".")[1] for name in names if name.startswith("fedtt.")}
    return parts


def upward_imports(root: Path) -> list[str]:
    wrong = []
    for path in sorted(root.rglob("*.py")):
        part = part_of(path, root)
        if part in FACE:
            continue
        for other in imported_parts(path) - {part}:
            if LAYERS[other] > LAYERS[part] or (LAYERS[other] == LAYERS[part] and other != part):
                wrong.append(f"{path.relative_to(root)} (layer {LAYERS[part]}) imports {other}")
    return wrong


def test_every_part_has_a_layer() -> None:
    parts = {part_of(path, SOURCE) for path in SOURCE.rglob("*.py")} - FACE
    assert parts <= set(LAYERS)


def test_imports_point_down() -> None:
    assert upward_imports(SOURCE) == []


@pytest.mark.parametrize(
    "line",
    ["import fedtt.cli", "from fedtt import engine", "from fedtt.federated.wire import decode"],
)
def test_the_check_can_fail(tmp_path: Path, line: str) -> None:
    (tmp_path / "tt").mkdir()
    (tmp_path / "tt" / "bad.py").write_text(f"def f():\n    {line}\n")
    (tmp_path / "tt" / "good.py").write_text("from fedtt.errors import ShapeError\n")
    assert len(upward_imports(tmp_path)) == 1
