"""The main job over several seeds, FedTT beside LoRA: the table of docs/results.md.

    python benchmarks/silos.py [--seeds 0 1 2] [--runs runs/silos] [--json FILE]

Runs that are finished are not run again; one that stopped goes on from its last round.
"""

import argparse
import json
import statistics
from pathlib import Path
from typing import Any

from fedtt.config import load_config
from fedtt.engine.build import build_federation
from fedtt.experiment import create_run, open_run, run_experiment

PRESET = Path(__file__).parents[1] / "presets" / "silos.toml"
# LoRA at the learning rate that fits it; no second training of the clients alone.
METHODS: dict[str, tuple[str, ...]] = {
    "fedtt": (),
    "lora": (
        "method.name=lora",
        "method.rank=8",
        "client.learning_rate=2e-3",
        "evaluation.alone=false",
    ),
}


def run(method: str, seed: int, runs: Path) -> dict[str, Any]:
    """The summary of that run, from disk if it is finished."""
    path = runs / f"{method}-seed{seed}"
    if (path / "summary.json").exists():
        summary: dict[str, Any] = json.loads((path / "summary.json").read_text())
        return summary
    config = load_config(PRESET, overrides=[*METHODS[method], f"seed={seed}"])
    directory = open_run(path) if path.exists() else create_run(path, config, overwrite=False)
    return run_experiment(config, build_federation(config), directory, notify=lambda _event: None)


def row(title: str, tables: list[dict[str, dict[str, float]]], sent: float | None) -> str:
    """One line of Markdown: accuracy per client and mean, over seeds, and megabytes sent."""
    accuracies = [table["accuracy"] for table in tables]
    clients = [client for client in accuracies[0] if client != "mean"]
    cells = [f"{statistics.mean(a[client] for a in accuracies):.3f}" for client in clients]
    means = [a["mean"] for a in accuracies]
    spread = f" ± {statistics.stdev(means):.3f}" if len(means) > 1 else ""
    megabytes = "" if sent is None else f"{sent / 1e6:.2f}"
    cells += [f"{statistics.mean(means):.3f}{spread}", megabytes]
    return f"| {title} | {' | '.join(cells)} |"


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs/silos"))
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    results = {
        method: [run(method, seed, arguments.runs) for seed in arguments.seeds]
        for method in METHODS
    }

    def sent(method: str) -> float:
        totals = [int(s["uplink_bytes"]) + int(s["downlink_bytes"]) for s in results[method]]
        return sum(totals) / len(totals)

    ours = results["fedtt"]
    clients = [client for client in ours[0]["test"]["accuracy"] if client != "mean"]
    lines = [
        f"| test accuracy | {' | '.join(clients)} | mean ± sd | MB sent |",
        f"|---|{'---|' * (len(clients) + 2)}",
        row("before training", [s["before"] for s in ours], None),
        row("each silo alone (FedTT)", [s["alone"] for s in ours], None),
        row("FedTT", [s["test"] for s in ours], sent("fedtt")),
        row("FedAvg-LoRA r=8", [s["test"] for s in results["lora"]], sent("lora")),
    ]
    print("\n".join(lines))
    print(f"\nseeds {arguments.seeds}; {ours[0]['environment']}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
