"""Codecs on a real update: bytes, what is lost, and time beside the training that made it.

    python benchmarks/codec.py [--config presets/silos.toml] [--set KEY=VALUE ...]
        [--blocks 32 64 128 256] [--json FILE]

The first client of the run trains one round, and its update is encoded and decoded by every codec
of the table, rounded by chance and to the nearest. ``error`` is the norm of what is lost over that
of the update; ``deflated`` is what zlib makes of the body; ``time`` is that of encode and decode
over that of the client's local training, in per cent. Times are medians of 11 turns, one thread.
"""

import argparse
import math
import statistics
import time
import zlib
from pathlib import Path

import torch
from report import describe_machine, print_table, write_json

from fedtt import params as p
from fedtt.config import load_config, override_config
from fedtt.engine.build import build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.federated.round import tasks_of
from fedtt.federated.wire.codec import CODECS, CodecOptions
from fedtt.federated.wire.update import decode_update
from fedtt.params import Params

TURNS = 11


def trained_update(path: Path, overrides: list[str]) -> tuple[Params, float]:
    """What a client's local training changed, and how long it took."""
    config = override_config(load_config(path), overrides)
    federation = build_federation(config)
    state = federation.initial
    method = federation.method
    trained = method.trained(state)
    tasks = tasks_of(
        state,
        method=method,
        population=federation.population,
        cohort=[0],
        trained=trained,
        learning_rate=config.client.learning_rate,
    )
    task = next(iter(tasks))
    clients = local_clients(federation, state=state, seed=config.seed)
    began = time.perf_counter()
    (reply,) = clients([task])
    seconds = time.perf_counter() - began
    expected = {name: task.structure[name] for name in sorted(trained)}
    return decode_update(reply, expected=expected, codec=task.codec).delta, seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--config", type=Path, default=Path("presets/silos.toml"))
    parser.add_argument("--set", action="append", default=[], dest="overrides")
    parser.add_argument("--blocks", nargs="+", type=int, default=[32, 64, 128, 256])
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    machine = describe_machine("numpy")
    delta, seconds = trained_update(arguments.config, arguments.overrides)
    structure = p.structure_of(delta)
    numbers = sum(spec.num_elements for spec in structure.values())
    print(f"{machine}; {numbers:,} numbers, {seconds:.1f} s of local training\n")
    norm = _norm(delta)
    rows, ratios = [], {}
    for name in CODECS:
        row = CODECS[name]
        for stochastic in (True, False) if row.lossy else (False,):
            for block in arguments.blocks if name not in {"plain", "bfloat16"} else [0]:
                codec = row.build(CodecOptions(block=block or 1, stochastic=stochastic))
                times = []
                for turn in range(TURNS):
                    began = time.perf_counter()
                    body = codec.encode(delta, seed=turn)
                    decoded = codec.decode(body, expected=structure)
                    times.append(time.perf_counter() - began)
                kind = "by chance" if stochastic else "to nearest"
                taken = statistics.median(times)
                ratios[f"{name}, {kind}, {block}"] = taken / seconds
                rows.append(
                    (
                        name,
                        kind if row.lossy else "",
                        block or "",
                        f"{len(body):,}",
                        f"{len(zlib.compress(body, 9)):,}",
                        f"{_norm(p.subtract(decoded, delta)) / norm:.4f}",
                        f"{1e3 * taken:.2f}",
                        f"{100 * taken / seconds:.3f}",
                    )
                )
    header = ("codec", "rounding", "block", "bytes", "deflated", "error", "ms", "time, %")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures={"seconds": seconds}, machine=machine)


def _norm(params: Params) -> float:
    return math.hypot(*(float(tensor.double().norm()) for tensor in params.values()))


if __name__ == "__main__":
    main()
