"""``fedtt doctor``: what is installed, what is missing for what, and whether a run would fit."""

import os
import platform
import shutil
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from fedtt._version import __version__
from fedtt.byte_sizes import format_bytes
from fedtt.cli.console import console, print_json, print_line
from fedtt.config import DataConfig, RunConfig, load_config
from fedtt.errors import ModelError
from fedtt.extras import EXTRAS
from fedtt.model_place import check_model_place
from fedtt.trackers import extras_of_trackers

if TYPE_CHECKING:
    import torch

PACKAGES = ("torch", "transformers", "peft", "accelerate", "datasets", "flwr")
EXIT_MISSING = 1


def doctor_command(config_path: Path | None, *, overrides: list[str], as_json: bool) -> None:
    """Print what is there; exit with 1 where the configuration asks for what is not."""
    config = None if config_path is None else load_config(config_path, overrides=overrides)
    if config is not None:
        check_model_place(config.model.name)
    document: dict[str, Any] = {
        "fedtt": __version__,
        "python": platform.python_version(),
        "packages": {name: _version(name) for name in PACKAGES},
        "extras": {
            name: {"purpose": extra.purpose, "missing": list(extra.missing)}
            for name, extra in EXTRAS.items()
        },
        "machine": _machine(),
        "config": None if config is None else _needs(config),
    }
    if as_json:
        print_json(document)
    else:
        _print(document)
    if document["config"] is not None and document["config"]["problems"]:
        raise typer.Exit(EXIT_MISSING)


def _version(package: str) -> str | None:
    try:
        return version(package)
    except ImportError:
        return None


def _machine() -> dict[str, Any]:
    from fedtt.models import fast_dtype, resolve_device

    device = resolve_device("auto")
    return {
        "system": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "device": str(device),
        "device_memory_bytes": _memory_of(device),
        "memory_bytes": _free_memory(),
        "disk_free_bytes": shutil.disk_usage(Path.cwd()).free,
        "fast_dtype": fast_dtype(device),
    }


def _memory_of(device: "torch.device") -> int | None:
    """Free memory of an accelerator that can say so."""
    import torch

    return torch.cuda.mem_get_info(device)[0] if device.type == "cuda" else None


def _free_memory() -> int | None:
    """What the system could give now, where it can be asked."""
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    except OSError:
        return None
    found = [line.split()[1] for line in lines if line.startswith("MemAvailable:")]
    return int(found[0]) * 1024 if found else None


def _needs(config: RunConfig) -> dict[str, Any]:
    """What a run of it would hold and write, and what stands in its way."""
    from fedtt.engine.build_base_model import base_model_spec
    from fedtt.engine.build_method import build_method
    from fedtt.engine.build_task import model_class_of
    from fedtt.engine.run_cost import DTYPES, LocalStep, count_base, count_cost
    from fedtt.models import load_model_config, resolve_device

    missing = missing_extras(config)
    problems = [f"pip install 'fedtt[{name}]': {EXTRAS[name].purpose}" for name in missing]
    if config.sites.names is None:  # every site brings its own
        problems += _absent_files(config.data)
    task = model_class_of(config.task)
    method = build_method(config.method, task=task, server=config.server, wire=config.wire)
    classes = len(config.data.label_names or ()) or 2
    try:
        model = load_model_config(
            config.model.name,
            revision=config.model.revision,
            num_labels=classes if task == "classification" else None,
        )
    except ModelError as error:
        problems = [*problems, *_unpackaged(config.model.name)]
        if not problems:
            raise
        return {**_named(config), "problems": [*problems, f"{error.summary} {config.model.name}"]}
    dtype = base_model_spec(config.model, method).dtype
    step = LocalStep(
        batch_size=config.client.batch_size, length=config.model.max_length, dtype=DTYPES[dtype]
    )
    cost = count_cost(model, method, task=task, clients=2, rounds=config.rounds, step=step)
    device = resolve_device(config.model.device)
    free = _free_memory() if device.type == "cpu" else _memory_of(device)
    held = cost.memory.total_bytes
    # The state, the adapter, and the one that is written beside each of them.
    written = 4 * 4 * cost.message.total_parameters
    disk = shutil.disk_usage(Path.cwd()).free
    if held is not None and free is not None and held > free:
        problems.append(f"memory: {format_bytes(held)} of {format_bytes(free)} that are free")
    if written > disk:
        problems.append(f"disk: {format_bytes(written)} of {format_bytes(disk)} that are free")
    return {
        **_named(config),
        "device": str(device),
        "dtype": dtype,
        "base_bytes": count_base(model, task=task, dtype=DTYPES[dtype]).bytes,
        "memory_bytes": held,
        "free_memory_bytes": free,
        "disk_bytes": written,
        "problems": problems,
    }


def _named(config: RunConfig) -> dict[str, Any]:
    """The row of a configuration whose base model cannot be read."""
    unknown = ("device", "dtype", "base_bytes", "memory_bytes", "free_memory_bytes", "disk_bytes")
    return {
        "model": config.model.name,
        "method": config.method.name,
        **dict.fromkeys(unknown),
    }


def _absent_files(data: DataConfig) -> list[str]:
    """Data that the configuration names, and how to name other."""
    places = {"data.path": data.path, "data.test_path": data.test_path}
    return [
        f"{key}: no file {place}; --set {key}=FILE takes another"
        for key, place in places.items()
        if place is not None and not place.is_file()
    ]


def _unpackaged(name: str) -> list[str]:
    """How to get the package of an alias that is not there; the hub, where it answers, has it."""
    from fedtt.models import ALIASES, locate_model

    there = name not in ALIASES or locate_model(name) != ALIASES[name].hub_id
    return [] if there else [ALIASES[name].install]


def missing_extras(config: RunConfig) -> list[str]:
    """Extras that the configuration asks for, and that are not there."""
    from fedtt.models import locate_model

    asked = {
        "flower": config.sites.names is not None,
        "privacy": config.privacy.is_private,
        "quantization": config.model.quantization is not None,
        "gguf": locate_model(config.model.name).lower().endswith(".gguf"),
    }
    named = [name for name, wanted in asked.items() if wanted]
    wanted = (*named, *extras_of_trackers(config.track.to))
    return [name for name in wanted if EXTRAS[name].missing]


def _print(document: dict[str, Any]) -> None:
    out, machine, needs = console(), document["machine"], document["config"]
    there = {name: found for name, found in document["packages"].items() if found}
    shown = ", ".join(f"{name} {found}" for name, found in there.items())
    print_line(out, f"fedtt {document['fedtt']}, Python {document['python']}, {shown}")
    free = {name: _bytes(machine[f"{name}_bytes"]) for name in ("memory", "disk_free")}
    print_line(
        out,
        f"{machine['system']}, {machine['cores']} cores, {free['memory']} of memory and "
        f"{free['disk_free']} of disk free",
    )
    print_line(out, f"device {machine['device']}: fastest in {machine['fast_dtype']}")
    for name, extra in document["extras"].items():
        if extra["missing"]:
            print_line(out, f"not there: {extra['purpose']} (pip install 'fedtt[{name}]')")
    if needs is None:
        return
    if needs["dtype"] is not None:
        _print_needs(needs)
    for problem in needs["problems"]:
        print_line(out, f"missing: {problem}", style="bold")


def _print_needs(needs: dict[str, Any]) -> None:
    print_line(
        console(),
        f"{needs['method']} with {needs['model']} in {needs['dtype']} on {needs['device']}: a "
        f"local step holds {_bytes(needs['memory_bytes'])}, of which "
        f"{_bytes(needs['base_bytes'])} are the base model; the run writes "
        f"{_bytes(needs['disk_bytes'])}",
    )


def _bytes(count: int | None) -> str:
    return "an unknown number of bytes" if count is None else format_bytes(count)
