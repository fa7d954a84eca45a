"""docs/python.md runs as it stands, with a smaller model."""

import re
from pathlib import Path

import pandas as pd
import pytest

PAGE = Path("docs/python.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"^```python\n(.*?)^```", PAGE, flags=re.MULTILINE | re.DOTALL)


@pytest.mark.slow
def test_the_page_runs(tiny_bert: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    for block in BLOCKS:
        exec(block.replace('"minilm"', repr(str(tiny_bert))), names)
    run = names["run"]
    assert list(run.rounds.index) == [1, 2, 3]
    assert len(names["answers"]) == 2
    assert list(names["costs"].index) == ["fedtt", "lora"]
    assert list(names["runs"]["state"]) == ["finished"]
    assert names["done"].rows == len(pd.read_csv("answered.csv")) == len(names["examples"])
    assert Path("exports/merged/README.md").is_file()
    assert names["checked"]
