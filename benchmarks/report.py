"""What the benchmarks share: the line about the machine, times, the table, the JSON file."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from importlib import metadata
from pathlib import Path

import torch


def describe_machine(*packages: str) -> str:
    """Processor, threads, and versions of torch and of ``packages``, those that are installed."""
    found = []
    for package in ("torch", *packages):
        try:
            found.append(f"{package} {metadata.version(package)}")
        except metadata.PackageNotFoundError:
            found.append(f"{package} not installed")
    threads = f"{torch.get_num_threads()} of {os.cpu_count()} threads"
    return f"{_processor()}, {threads}; Python {platform.python_version()}, {', '.join(found)}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def median_times(
    actions: Mapping[str, Callable[[], object]], *, turns: int, warm_up: int = 1
) -> dict[str, float]:
    """Seconds of each, all in turns: the median of ``turns`` after the first ones."""
    times: dict[str, list[float]] = {name: [] for name in actions}
    for turn in range(turns + warm_up):
        for name, action in actions.items():
            began = time.perf_counter()
            action()
            if turn >= warm_up:
                times[name].append(time.perf_counter() - began)
    return {name: statistics.median(taken) for name, taken in times.items()}


def print_table(header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A Markdown table."""
    print("| " + " | ".join(header) + " |")
    print("|" + "---|" * len(header))
    for row in rows:
        print("| " + " | ".join(map(str, row)) + " |", flush=True)


def write_json(
    path: Path | None, *, ratios: Mapping[str, float], figures: Mapping[str, object], machine: str
) -> None:
    """The same figures, ratios under ``ratios``; nothing without a path."""
    if path is not None:
        document = {"machine": machine, "ratios": ratios, "figures": figures}
        path.write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")
