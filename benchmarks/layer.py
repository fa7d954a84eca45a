"""One block's adapters alone, forward and backward: TT against other layers of the same purpose.

    python benchmarks/layer.py [--tokens 1024] [--turns 20] [--give-back] [--json FILE]

The hidden states are (8, tokens / 8, width) and need gradients, as inside a model. A block has two
adapters (after attention and after the MLP), or LoRA on queries and values; of LoRA, whose layers
run the frozen projection too, the time of the frozen projections alone is taken off. Times are
medians over turns in which all layers take their turn; memory is the peak of what torch allocates
in a step, the inputs not counted. One thread. As in training, what a step frees stays with the
process; with ``--give-back`` glibc decides, which gives it back to the system in part, and then
layers wait for pages that the system has to wipe (see ``step.py``). Needs
`pip install "fedtt[bench]"`; what is not installed, or cannot be built at a width, is left out and
named.
"""

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path

import torch
from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.tuners_utils import BaseTunerLayer
from report import describe_machine, median_times, print_table, write_json
from torch import Tensor, nn
from torch.profiler import ProfilerActivity, profile

from fedtt.engine.freed_memory import keep_freed_memory
from fedtt.peft.residual_adapter import AdapterSettings
from fedtt.peft.tt_adapter_layer import TTAdapterLayer
from fedtt.tt import tt_shape

BOTTLENECK, RANK = 64, 5
SETTINGS = AdapterSettings(activation="gelu", dropout=0.0, scaling=1.0)
# Of BlockTT both sides have as many modes.
BLOCK_MODES = {768: ((8, 8, 12), (4, 4, 4)), 4096: ((16, 16, 16), (4, 4, 4))}
LORETTA_MODES = {768: ([8, 8, 12, 8, 8], [8, 8, 12, 8, 8])}


class Residual(nn.Module):
    """``h + Up(gelu(Down(h)))``."""

    def __init__(self, down: nn.Module, up: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(down, nn.GELU(), up)

    def forward(self, x: Tensor) -> Tensor:
        correction: Tensor = self.layers(x)
        return x + correction


class Projections(nn.Module):
    """The frozen projections to queries and values, with LoRA or without."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.q = nn.Linear(width, width)
        self.v = nn.Linear(width, width)
        self.requires_grad_(requires_grad=False)

    def forward(self, x: Tensor) -> Tensor:
        total: Tensor = self.q(x) + self.v(x)
        return total


def fedtt(width: int) -> nn.Module:
    def make() -> nn.Module:
        layer = TTAdapterLayer(nn.Identity())
        down = tt_shape(width, BOTTLENECK, rank=RANK)
        up = tt_shape(BOTTLENECK, width, rank=RANK)
        layer.add_adapter(
            "default", down=down, up=up, bias=False, identity=False, settings=SETTINGS
        )
        BaseTunerLayer.set_adapter(layer, "default")
        return layer

    return nn.Sequential(make(), make())


def loretta(width: int) -> nn.Module:
    from loretta.tensor_layers.layers import wrapped_linear_layers
    from loretta.utils.tensor_util import config_class

    down, up = LORETTA_MODES[width]

    def make() -> nn.Module:
        settings = [config_class(shape=s, ranks=RANK, set_scale_factors=False) for s in (down, up)]
        return Residual(
            wrapped_linear_layers(width, BOTTLENECK, tensorized=True, config=settings[0]),
            wrapped_linear_layers(BOTTLENECK, width, tensorized=True, config=settings[1]),
        )

    return nn.Sequential(make(), make())


def tltorch(width: int) -> nn.Module:
    from tltorch import FactorizedLinear

    wide, narrow = BLOCK_MODES[width]

    def make() -> nn.Module:
        sides = ((wide, narrow), (narrow, wide))
        options = {"bias": False, "factorization": "blocktt", "rank": RANK}
        return Residual(*(FactorizedLinear(*side, **options) for side in sides))

    return nn.Sequential(make(), make())


def houlsby(width: int) -> nn.Module:
    def make() -> nn.Module:
        return Residual(nn.Linear(width, BOTTLENECK), nn.Linear(BOTTLENECK, width))

    return nn.Sequential(make(), make())


def lora(width: int) -> nn.Module:
    config = LoraConfig(r=8, lora_alpha=16, target_modules=["q", "v"], init_lora_weights=False)
    adapted: nn.Module = inject_adapter_in_model(config, Projections(width))
    return adapted


LAYERS: dict[str, Callable[[int], nn.Module]] = {
    "fedtt": fedtt,
    "loretta 0.1.0": loretta,
    "tensorly-torch BlockTT": tltorch,
    "Houlsby, dense": houlsby,
    "PEFT LoRA r=8": lora,
    "frozen q, v": Projections,
}


def step(layer: nn.Module, x: Tensor, gradient: Tensor) -> None:
    """Forward and backward, down to the input."""
    layer(x).backward(gradient)
    x.grad = None
    for weight in layer.parameters():
        weight.grad = None


def peak_bytes(layer: nn.Module, x: Tensor, gradient: Tensor) -> int:
    """Most bytes that torch holds at once in a step."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiled:
        step(layer, x, gradient)
    events = [e for e in profiled.profiler.kineto_results.events() if e.name() == "[memory]"]
    held = most = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        held += event.nbytes()
        most = max(most, held)
    return most


def build(width: int) -> tuple[dict[str, nn.Module], list[str]]:
    """The layers of a width, and a line on each that cannot be had."""
    layers, missing = {}, []
    for name, make in LAYERS.items():
        try:
            torch.manual_seed(0)
            layers[name] = make(width)
            x = torch.randn(8, 4, width, requires_grad=True)
            step(layers[name], x, torch.ones_like(x))
        except Exception as error:  # other people's code: whatever it raises is a result
            layers.pop(name, None)
            missing.append(f"{name} at width {width}: {type(error).__name__}: {error}")
    return layers, missing


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--tokens", type=int, default=1024)
    parser.add_argument("--turns", type=int, default=20)
    parser.add_argument("--give-back", action="store_true")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if not arguments.give_back:
        keep_freed_memory()
    machine = describe_machine("peft", "loretta", "tensorly-torch")
    print(f"{machine}\n")
    ratios: dict[str, float] = {}
    figures: dict[str, object] = {}
    rows = []
    for width in (768, 4096):
        layers, missing = build(width)
        x = torch.randn(8, arguments.tokens // 8, width, requires_grad=True)
        gradient = torch.randn_like(x)
        steps = {name: partial(step, layer, x, gradient) for name, layer in layers.items()}
        seconds = median_times(steps, turns=arguments.turns, warm_up=2)
        frozen = seconds.pop("frozen q, v")
        seconds["PEFT LoRA r=8"] -= frozen
        for name, taken in seconds.items():
            trained = sum(w.numel() for w in layers[name].parameters() if w.requires_grad)
            peak = peak_bytes(layers[name], x, gradient)
            ratio = taken / seconds["fedtt"]
            ratios[f"{name}, {width}"] = ratio
            figures[f"{name}, {width}"] = {"ms": 1e3 * taken, "bytes": peak, "trained": trained}
            megabytes = f"{peak / 2**20:.1f}"
            rows.append((width, name, trained, f"{1e3 * taken:.2f}", f"{ratio:.2f}", megabytes))
        for line in missing:
            print(f"left out: {line}")
    header = ("width", "layer", "trained", "ms", "times fedtt", "peak MiB")
    print_table(header, rows)
    write_json(arguments.json, ratios=ratios, figures=figures, machine=machine)


if __name__ == "__main__":
    main()
