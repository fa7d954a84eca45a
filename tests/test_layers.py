"""Imports point only down; and the check that says so can fail."""

import ast
import re
from collections import Counter
from pathlib import Path

import pytest

import fedtt

PLAN = Path("CONTRIBUTING.md").read_text(encoding="utf-8")


def layers_of(plan: str) -> dict[str, float]:
    """Part -> layer, as the drawing in CONTRIBUTING.md has them."""
    drawing = plan.split("```\n9.5 ", 1)[1].split("```", 1)[0]
    parts: dict[str, float] = {}
    for line in f"9.5 {drawing}".splitlines():
        if line[:1].isdigit():
            number, names, *_ = re.split(r"\s{2,}", line)
            parts |= {name: float(number) for name in names.split(", ")}
    return parts


LAYERS = layers_of(PLAN)
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


def reads_config(path: Path) -> bool:
    return "config" in imported_parts(path)


def test_who_reads_a_config_is_what_contributing_says() -> None:
    sentence = re.search(r"Of the engine only (.*?)\s+read a config", PLAN, re.DOTALL)
    assert sentence
    named = set(re.findall(r"`([a-z_]+\.py)`", sentence[1]))
    engine = [path for path in (SOURCE / "engine").glob("*.py") if reads_config(path)]
    assert {path.name for path in engine} == named
    lower = [part for part, layer in LAYERS.items() if layer < LAYERS["config"]]
    for part in lower:
        assert not any(reads_config(path) for path in (SOURCE / part).rglob("*.py"))


def twins(root: Path) -> set[str]:
    names = Counter(path.name for path in root.rglob("*.py") if path.name != "__init__.py")
    return {name for name, count in names.items() if count > 1}


def test_no_two_modules_share_a_name() -> None:
    assert twins(SOURCE) == set()


def test_the_check_of_names_can_fail(tmp_path: Path) -> None:
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").touch()
        (tmp_path / folder / "same.py").touch()
    assert twins(tmp_path) == {"same.py"}


def test_what_sites_say_to_each_other_knows_no_carrier() -> None:
    """Flower is behind the seam: only ``sites/flower`` itself, and the command line, import it."""
    files = [path for path in SOURCE.rglob("*.py") if "flower" not in path.parts]
    importing = {part_of(path, SOURCE) for path in files if imports_flower(path)}
    assert importing == {"cli"}


def imports_flower(path: Path) -> bool:
    lines = path.read_text(encoding="utf-8").splitlines()
    return any(re.match(r"\s*(from|import) (fedtt\.sites\.flower|flwr)", line) for line in lines)
