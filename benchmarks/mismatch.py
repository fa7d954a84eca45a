"""How far the mean of cores is from the mean of matrices, on real updates of the silos.

    python benchmarks/mismatch.py [--rounds 3] [--seed 0] [--set KEY=VALUE] [--json FILE]

For every tensor train (LoRA: every pair) and round: the error of the aggregate, in the Frobenius
norm of the matrix, relative to the size of the exact mean *change* of that matrix in the round.
The median and the largest over layers.
"""

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from fedtt import params as p
from fedtt.config import load_config
from fedtt.engine.build import build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.federated.aggregate.aggregation import Aggregate, Aggregation
from fedtt.federated.aggregate.lora_products import ProductSVD
from fedtt.federated.aggregate.tt_rounding import TTRounding
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.cohort import Cohorts
from fedtt.federated.learning_rate import learning_rate_at
from fedtt.federated.parameter_names import lora_pairs, tensor_trains
from fedtt.federated.round import run_round
from fedtt.params import Params
from fedtt.tt import tt_distance, tt_scale, tt_sum

PRESET = Path(__file__).parents[1] / "presets" / "silos.toml"
METHODS: dict[str, tuple[str, ...]] = {
    "fedtt": (),
    "fedtt+ ends+cycle": ("method.name=fedtt+", "method.schedule=ends+cycle"),
    "fedtt+ cycle": ("method.name=fedtt+", "method.schedule=cycle"),
    "lora": ("method.name=lora", "method.rank=8", "client.learning_rate=2e-3"),
}
Errors = dict[str, list[float]]
Updates = Sequence[tuple[float, Params]]


@dataclass(frozen=True, kw_only=True)
class Recorder:
    """The plain mean, which keeps every update that went into it in ``updates``."""

    fewest: ClassVar[int] = 1
    linear: ClassVar[bool] = True
    updates: list[tuple[float, Params]]
    mean: WeightedMean

    def include(self, delta: Params, *, start: Params, weight: float) -> "Recorder":
        """The mean with one more client in it."""
        self.updates.append((weight, delta))
        return replace(self, mean=self.mean.include(delta, start=start, weight=weight))

    def result(self, *, start: Params) -> Aggregate:
        """The mean."""
        return self.mean.result(start=start)


def after(aggregation: Aggregation, start: Params, updates: Updates) -> Params:
    """The parameters that an aggregation would make of these updates."""
    for weight, delta in updates:
        aggregation = aggregation.include(delta, start=start, weight=weight)
    return moved(start, aggregation.result(start=start).delta)


def moved(start: Params, delta: Params) -> Params:
    """What a client ended with; parameters that it did not train as they were."""
    return {**start, **p.add(p.select(start, delta), delta)}


def tt_errors(start: Params, updates: Updates) -> Errors:
    """Errors of core-wise averaging and, where all cores trained, of rounding."""
    total = sum(weight for weight, _ in updates)
    candidates = {"mean of cores": after(WeightedMean(), start, updates)}
    trains = tensor_trains(start)
    if all(name in updates[0][1] for cores in trains.values() for name in cores):
        candidates["rounded"] = after(TTRounding(), start, updates)
    errors: Errors = {name: [] for name in candidates}
    for names in trains.values():

        def cores(params: Params, names: Sequence[str] = names) -> list[Tensor]:
            return [params[name].double() for name in names]

        exact = tt_sum([tt_scale(cores(moved(start, d)), w / total) for w, d in updates])
        change = tt_distance(exact, cores(start))
        for candidate, params in candidates.items():
            errors[candidate].append(tt_distance(exact, cores(params)) / change)
    return errors


def lora_errors(start: Params, updates: Updates) -> Errors:
    """Errors of averaging A and B one by one, and of FlexLoRA's singular values."""
    total = sum(weight for weight, _ in updates)
    candidates = {
        "mean of factors": after(WeightedMean(), start, updates),
        "SVD of the mean": after(ProductSVD(), start, updates),
    }
    errors: Errors = {name: [] for name in candidates}
    for pair in lora_pairs(start):

        def product(params: Params, a: str = pair.a, b: str = pair.b) -> Tensor:
            return params[b].double() @ params[a].double()

        exact = sum(w / total * product(moved(start, delta)) for w, delta in updates)
        change = torch.linalg.vector_norm(exact - product(start))
        for candidate, params in candidates.items():
            error = torch.linalg.vector_norm(exact - product(params)) / change
            errors[candidate].append(float(error))
    return errors


def measure(method: str, *, rounds: int, seed: int, overrides: Sequence[str]) -> list[Errors]:
    """Errors of every round of a run of that method."""
    config = load_config(PRESET, overrides=[*METHODS[method], f"seed={seed}", *overrides])
    federation = build_federation(config)
    state, results = federation.initial, []
    call = local_clients(
        federation,
        state=state,
        seed=seed,
    )
    of_updates: Callable[..., Errors] = lora_errors if method == "lora" else tt_errors
    for index in range(rounds):
        recorder = Recorder(updates=[], mean=WeightedMean())
        start = state.params
        state, _ = run_round(
            state,
            method=replace(federation.method, aggregation=recorder),
            cohorts=Cohorts(population=federation.population, seed=seed),
            learning_rate=learning_rate_at(
                index,
                rounds=config.rounds,
                base=config.client.learning_rate,
                decay=config.client.decay,
                warmup_rounds=config.client.warmup_rounds,
            ),
            call_clients=call,
        )
        results.append(of_updates(start, recorder.updates))
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    table: dict[str, list[Any]] = {}
    print("| method | round | aggregate | median error | largest |\n|---|---|---|---|---|")
    for method in METHODS:
        rounds = measure(
            method, rounds=arguments.rounds, seed=arguments.seed, overrides=arguments.set
        )
        table[method] = rounds
        for index, errors in enumerate(rounds):
            for aggregate, values in errors.items():
                middle, largest = statistics.median(values), max(values)
                print(
                    f"| {method} | {index + 1} | {aggregate} | {middle:.3f} | {largest:.3f} |",
                    flush=True,
                )
    if arguments.json:
        arguments.json.write_text(json.dumps(table, indent=2))


if __name__ == "__main__":
    main()
