"""README.md of an exported model: what it is, where it comes from, how to load it.

No text of anybody's, no client's name, and no number of one client.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from fedtt._version import __version__
from fedtt.config import RunConfig
from fedtt.engine.build_task import model_class_of
from fedtt.experiment.description import is_data_at_sites
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.run_rows import MEASURED, spent
from fedtt.methods import method_entry
from fedtt.metrics import MEAN
from fedtt.models import is_on_this_machine, public_name

AUTO = {
    "classification": "AutoModelForSequenceClassification",
    "causal": "AutoModelForCausalLM",
}
DRAWN = "drawn at random and stays so"  # of a layer that plain loading draws otherwise
# By :func:`is_data_at_sites`, which may not know.
PLAYED = {
    True: ", by a server and sites that kept their data",
    False: ": a simulation, by one who held the data of every client",
    None: "",
}
SUMMED = {
    True: "secure aggregation: sites sent masked updates, and the server learned their sums",
    False: "secure aggregation was simulated: it hid no update from whoever ran this",
    None: "secure aggregation was asked for; whether between sites is not known",
}
TITLES = {"test": "after training", "before": "before", "alone": "each client alone"}


def model_card(
    directory: RunDirectory, config: RunConfig, export: ExportFormat, *, checked: Sequence[str]
) -> str:
    """The card, in Markdown with the hub's header."""
    data = directory.data() or {}
    parts = [
        _header(config, export),
        f"# {_base(config)}, tuned by {config.method.name}",
        "Tuned federatedly with [fedtt](https://arxiv.org/abs/2410.13097) "
        f"{__version__}{PLAYED[is_data_at_sites(data)]}.",
        "## Training",
        _list(_training(directory, config)),
        "## Data",
        _list(_data(config, data)),
        "## Privacy",
        _list(_privacy(directory, config, at_sites=is_data_at_sites(data))),
        "## Results",
        _results(directory.summary()),
        "## Loading it",
        f"```python{_loading(config, export, data)}```",
        _labels(config, data),
        *([_list(checked)] if checked else []),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _header(config: RunConfig, export: ExportFormat) -> str:
    lines = [f"library_name: {export.library}", "tags: [federated, fedtt, peft]"]
    if not is_on_this_machine(config.model.name):
        lines.insert(0, f"base_model: {json.dumps(public_name(config.model.name))}")
    return "\n".join(["---", *lines, "---"])


def _base(config: RunConfig) -> str:
    return _plain(public_name(config.model.name))


def _training(directory: RunDirectory, config: RunConfig) -> Iterator[str]:
    records = directory.rounds()
    up, down = (sum(r[f"{way}link_bytes"] for r in records) for way in ("up", "down"))
    revision = f", revision {config.model.revision}" if config.model.revision else ""
    yield f"base model: {_base(config)}{revision}"
    entry = method_entry(config.method.name)
    yield f"method: {config.method.name} ({entry.reference}), aggregation {entry.aggregation}"
    yield f"rounds: {len(records)} of {config.rounds}; seed {config.seed}"
    yield f"sent in all: {up:,} bytes up, {down:,} bytes down"
    yield f"texts are read up to {config.model.max_length} tokens"


def _data(config: RunConfig, data: Mapping[str, Any]) -> Iterator[str]:
    yield f"source: {config.data.source or 'files of the clients'}; task: {config.task.kind}"
    clients, at_sites = data.get("clients", {}), is_data_at_sites(data)
    if clients:
        yield f"clients: {_count(clients)}{' sites' if at_sites else ''}"
    if clients and not at_sites and not config.privacy.is_noisy:
        for split in ("train", "validation", "test"):
            total = sum(sizes.get(split, 0) for sizes in clients.values())
            yield f"{split}: {total:,} examples"


def _count(clients: Mapping[str, Any]) -> str:
    """Of very many clients data.json holds one row, whose name is their number."""
    only = next(iter(clients))
    if len(clients) == 1 and only.endswith(" clients"):
        return only.removesuffix(" clients")
    return str(len(clients))


def _privacy(directory: RunDirectory, config: RunConfig, *, at_sites: bool | None) -> Iterator[str]:
    records, summary = directory.rounds(), directory.summary() or {}
    epsilons = spent(records[-1] if records else {})
    for kind, key, of in (
        ("privacy", "epsilon", "clients"),
        ("example_privacy", "example_epsilon", "examples"),
    ):
        if key in epsilons:
            about = summary.get(kind) or records[-1][kind]
            yield (
                f"differential privacy of {of}: epsilon {epsilons[key]:.4g} "
                f"at delta {about['delta']:g}"
            )
    if config.privacy.secure_aggregation is not None:
        yield SUMMED[at_sites]
    if not epsilons:
        yield "no differential privacy: nothing was added to hide a client or an example"


def _results(summary: Mapping[str, Any] | None) -> str:
    tables = {what: (summary or {}).get(what) for what in MEASURED}
    shown = {what: table for what, table in tables.items() if table}
    if not shown:
        return "None were measured on the test split."
    metrics = dict.fromkeys(metric for table in shown.values() for metric in table)
    head = f"| mean over clients, test split | {' | '.join(TITLES[what] for what in shown)} |"
    lines = [head, "|---" * (len(shown) + 1) + "|"]
    for metric in metrics:
        cells = (
            f"{table[metric][MEAN]:.4f}" if metric in table else "" for table in shown.values()
        )
        lines.append(f"| {metric} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _loading(config: RunConfig, export: ExportFormat, data: Mapping[str, Any]) -> str:
    auto = AUTO[model_class_of(config.task)]
    many = "" if model_class_of(config.task) == "causal" else f", num_labels={_outputs(data)}"
    base = json.dumps(public_name(config.model.name))
    return export.loading.format(auto=auto, base=base, labels=many)


def _outputs(data: Mapping[str, Any]) -> int:
    return len(data.get("label_names", ())) or 1


def _labels(config: RunConfig, data: Mapping[str, Any]) -> str:
    if not config.task.has_classes:
        return ""
    names = ", ".join(f"{i}: {_plain(name)}" for i, name in enumerate(data["label_names"]))
    drawn = [_plain(note) for note in data.get("notes", ()) if DRAWN in note]
    return "\n\n".join([f"Classes: {names}.", *drawn])


def _plain(text: str) -> str:
    """What a name cannot do to the page."""
    shown = json.dumps(text, ensure_ascii=False)[1:-1]
    return shown.translate({ord(mark): f"\\{mark}" for mark in "<>|*_`[]"})


def _list(lines: Iterator[str] | Sequence[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)
