"""Server time per client update, as ratios to the plain mean in the same run.

    python benchmarks/aggregation.py [--clients 1000] [--json FILE]

FedTT's cores at MiniLM's and BERT-base's geometry, LoRA r=8 beside them; random updates of a fifth
of each tensor's size. One process, one thread.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from transformers import BertConfig

from fedtt.config import parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import exchanged_kinds, put_into
from fedtt.federated.aggregate.aggregation import Aggregation
from fedtt.federated.aggregate.lora_products import ProductSVD
from fedtt.federated.aggregate.trimmed_mean import TrimmedMean
from fedtt.federated.aggregate.tt_rounding import TTRounding
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.models import build_empty_model
from fedtt.params import Params

MODELS = {
    "MiniLM": BertConfig(
        hidden_size=384, num_hidden_layers=6, intermediate_size=1536, num_attention_heads=12
    ),
    "BERT-base": BertConfig(),
}
AGGREGATIONS: dict[str, tuple[str, Aggregation]] = {
    "mean of cores": ("fedtt", WeightedMean()),
    "TT-rounding": ("fedtt", TTRounding()),
    "coordinate median": ("fedtt", TrimmedMean(trim=0.5)),
    "mean of A, B": ("lora", WeightedMean()),
    "SVD of the product": ("lora", ProductSVD()),
}


def start_of(model: str, method: str) -> Params:
    """Random values for everything that the method exchanges with the model."""
    chosen = build_method(parse_method(method, overrides=[]), task="classification")
    adapted = put_into(build_empty_model(MODELS[model], task="classification"), chosen)
    kinds = exchanged_kinds(adapted, chosen)
    generator = torch.Generator().manual_seed(0)
    shapes = {n: t.shape for n, t in adapted.named_parameters() if n in kinds}
    return {name: torch.randn(shape, generator=generator) for name, shape in shapes.items()}


def seconds(aggregation: Aggregation, start: Params, clients: int) -> float:
    """Wall time of including that many updates, and of the result."""
    generator = torch.Generator().manual_seed(1)
    updates = [
        {name: 0.2 * torch.randn(t.shape, generator=generator) for name, t in start.items()}
        for _ in range(8)
    ]
    began = time.perf_counter()
    for index in range(clients):
        aggregation = aggregation.include(updates[index % 8], start=start, weight=1.0)
    aggregation.result(start=start)
    return time.perf_counter() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=1000)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    ratios: dict[str, float] = {}
    print(f"| model | aggregation | s for {arguments.clients} clients | times the mean of cores |")
    print("|---|---|---|---|")
    for model in MODELS:
        plain = None
        for name, (method, aggregation) in AGGREGATIONS.items():
            taken = seconds(aggregation, start_of(model, method), arguments.clients)
            plain = plain or taken
            ratios[f"{model}, {name}"] = taken / plain
            print(f"| {model} | {name} | {taken:.2f} | {taken / plain:.1f} |", flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps({"ratios": ratios}, indent=2))


if __name__ == "__main__":
    main()
