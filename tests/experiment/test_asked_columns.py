"""What a run is asked about are the texts that it was trained on: of pairs, both."""

from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
from tests.data.named_rows import write_rows

import fedtt
from fedtt.config import RunConfig
from fedtt.errors import DataError, RunError
from fedtt.experiment.asked_columns import asked_columns

MakeConfig = Callable[..., RunConfig]

ASKED = {
    "one": ({"path": "x.csv", "text_column": "note"}, ("note",)),
    "two": ({"path": "x.csv", "pair_column": "other"}, ("text", "other")),
    "silos": ({"source": "sentiment-silos"}, ("text",)),
    "named": ({"source": "sst2"}, ("sentence",)),
    "named as it is asked": ({"source": "ag-news"}, ("text",)),
    "named pairs": ({"source": "qnli"}, ("question", "sentence")),
    "pairs of numbers": ({"source": "stsb"}, ("sentence1", "sentence2")),
    "made of more than two": ({"source": "copa"}, ("text", "pair")),
    "with a word marked": ({"source": "wic"}, ("text", "pair")),
}


@pytest.mark.parametrize("case", ASKED)
def test_columns_that_a_run_is_asked_about(make_config: MakeConfig, case: str) -> None:
    data, columns = ASKED[case]
    assert asked_columns(make_config(data=data).data) == columns


def test_a_run_of_a_named_task_of_pairs_refuses_single_texts(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    rows = [{"sentence1": f"good {i}", "sentence2": f"bad {i}", "label": i % 2} for i in range(40)]
    for split, part in {"train": rows[:32], "validation": rows[32:]}.items():
        write_rows(tmp_path / f"{split}.csv", part)
    config = make_config(
        rounds=1,
        data={"source": "mrpc", "directory": str(tmp_path), "validation": 0.2},
        partition={"kind": "iid", "clients": 2},
        client={"steps": 1, "batch_size": 4},
    )
    run = fedtt.train(config, run=tmp_path / "run", progress=False)
    with pytest.raises(RunError, match=r"answers pairs(.|\n)*'sentence1' and 'sentence2'"):
        run.predict(["good 1"])
    table = pd.DataFrame(rows[:3])
    assert len(run.predict(table)) == 3
    assert not run.predict(table).equals(run.predict(table.assign(sentence2="good good good")))
    with pytest.raises(DataError, match="no column 'sentence2'"):
        run.predict(table.drop(columns="sentence2"))
    table.to_csv(tmp_path / "new.csv", index=False)
    assert run.predict_file(tmp_path / "new.csv", tmp_path / "out.csv").rows == 3
