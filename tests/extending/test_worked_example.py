"""The adapter that docs/extending.md writes out trains, is saved and opened, as the page says."""

import re
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path

import pytest

import fedtt
from fedtt.config import RunConfig
from fedtt.methods import METHODS

MakeConfig = Callable[..., RunConfig]
PAGE = Path("docs/extending.md").read_text(encoding="utf-8")
(GAIN,) = re.findall(r"^```python\n(from dataclasses.*?)^```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_example_runs(
    make_config: MakeConfig, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gain.py").write_text(GAIN, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    gain = import_module("gain")
    try:
        quick = {"client": {"steps": 1, "batch_size": 4}, "evaluation": {"alone": False}}
        table = make_config(rounds=1, **quick).model_dump(
            mode="json", exclude_none=True, exclude_unset=True
        )
        table["method"] = {"name": "gain"}
        run = fedtt.train(table, run=tmp_path / "run", progress=False)
        assert run.predict("great film")["label"].isin(["good", "bad"]).all()
        model, _ = run.model()
        kinds = fedtt.peft.count_by_kind(model)
        assert kinds == {"gain": 4 * 32, "head": 2 * 32 + 2}  # two blocks of two layers each
        moved = [p for name, p in model.named_parameters() if name.endswith(".g")]
        assert all(p.abs().max() > 0 for p in moved)
        costs = fedtt.cost(str(table["model"]["name"]), methods=["gain", "fedtt"])
        assert costs["uplink_bytes"]["gain"] > 0
    finally:
        del METHODS._rows["gain"], sys.modules["gain"]
    assert gain.GAIN.adapter
