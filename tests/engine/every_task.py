"""A tiny run of every kind of task and every named one; by torchrun: measured between processes.

``torchrun ... -m tests.engine.every_task FOLDER BERT LLAMA`` compares what the processes find
together with what one finds, task after task, and ends with an error where they differ.
"""

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.data.named_rows import rows_of, write_rows, write_task

from fedtt.config import RunConfig, parse_config
from fedtt.data import TASKS
from fedtt.engine.between_processes import help_leader, stop_helpers
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.processes import Processes, join_processes
from fedtt.experiment.measure import Portion, measure

CAUSAL = ("generation", "label-words", "language-modeling")
# A named task is of the kind that the catalog says; these two kinds go with a file, or beside it.
OF_A_FILE: Mapping[str, Mapping[str, Any]] = {
    "label-words": {"kind": "label-words", "words": ["bad", "good"], "prompt": "{text} was"},
    "language-modeling": {"kind": "language-modeling"},
}
NAMES = (*TASKS, *OF_A_FILE)
# One of every kind, and of every set of metrics.
DIFFERENT = ("cola", "mrpc", "stsb", "copa", "multirc", "record", "cb", "squad", "drop", *OF_A_FILE)


def task_config(name: str, *, folder: Path, bert: Path, llama: Path) -> RunConfig:
    """A run of that task on two clients; its files are made where they are missing."""
    source = "sst2" if name in OF_A_FILE else name
    place = folder / source
    if not place.exists():
        write_task(place, source)
        write_other_training_texts(place, source)
    data: dict[str, Any] = {"source": source, "directory": str(place)}
    if name == "language-modeling":
        file = place / f"{TASKS[source].train_split}.jsonl"
        data = {"path": str(file), "text_column": "sentence", "label_column": "sentence"}
        data["test"] = 0.4
    table: dict[str, Any] = {
        "rounds": 1,
        "data": {"validation": 0.2, **data},
        "partition": {"kind": "iid", "clients": 1, "min_examples": 1},
        "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
        **({"task": dict(OF_A_FILE[name])} if name in OF_A_FILE else {}),
    }
    model = {"max_length": 32, "device": "cpu", "dtype": "float32"}
    named = parse_config({**table, "model": {"name": str(bert), **model}}, where="the test")
    place = llama if named.task.kind in CAUSAL else bert
    return parse_config({**table, "model": {"name": str(place), **model}}, where="the test")


def write_other_training_texts(place: Path, source: str) -> None:
    """As the test texts, and no text of the test file is trained on: they end in another way."""
    own = {"premise", "paragraph", "passage", "context", "text", "sentence1"}
    columns = own if own & {*rows_of(source)[0]} else {*TASKS[source].text_columns}

    def again(key: str, value: Any, copy: int) -> Any:
        if key == "idx":  # of the group that the row is in
            parts = value.items() if isinstance(value, dict) else ()
            return {part: number + 10 * copy for part, number in parts} or value + 10 * copy
        return f"{value} Again {copy}." if key in columns else value

    rows = [
        {key: again(key, value, copy) for key, value in row.items()}
        for copy in range(3)
        for row in rows_of(source)
    ]
    write_rows(place / f"{TASKS[source].train_split}.jsonl", rows)


def measured(federation: Federation, processes: Processes | None) -> dict[str, Any]:
    """The metrics of the test split, one example a batch: every process has some."""
    return measure(
        federation,
        federation.initial.params,
        Portion(split="test"),
        batch_size=1,
        pooled=True,
        processes=processes,
    )


def check_same(one: Mapping[str, Any], two: Mapping[str, Any], *, where: str) -> None:
    """Raise ``AssertionError`` unless the metrics are the same, to rounding."""
    assert one.keys() == two.keys(), where
    for metric, values in one.items():
        for holder, value in values.items():
            assert abs(two[metric][holder] - value) <= 1e-6 * max(1, abs(value)), (where, metric)


def main(folder: Path, bert: Path, llama: Path) -> None:
    """Every task, one after another."""
    processes = join_processes()
    assert processes is not None
    for name in NAMES:
        own = folder / str(processes.rank)
        federation = build_federation(task_config(name, folder=own, bert=bert, llama=llama))
        if processes.leads:
            one = measured(federation, None)
            check_same(one, measured(federation, processes), where=name)
            stop_helpers(processes)
            print(f"{name}: {', '.join(one)}")  # noqa: T201
        else:
            help_leader(processes, federation, start_clients=no_clients, before_batch=None)


def no_clients(_state: Any) -> Any:
    """Nothing trains here."""
    raise AssertionError("nothing trains here")


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:]))
