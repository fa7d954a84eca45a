"""The adapter as it is: a PEFT directory, for whoever has the base model."""

import json
from pathlib import Path

from peft import PeftModel
from peft.utils import CONFIG_NAME

from fedtt.engine.build_base_model import load_base
from fedtt.engine.build_method import build_method
from fedtt.engine.build_task import model_class_of
from fedtt.engine.cost import exchanged_kinds
from fedtt.engine.write_adapter import write_adapter
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.exports.same_outputs import check_same, outputs_of
from fedtt.experiment.opened_run import OpenedRun
from fedtt.models import public_name

LOADING = """
import fedtt  # PEFT then knows fedtt's adapters
from peft import PeftModel
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
base = {auto}.from_pretrained({base}{labels})
base.config.pad_token_id = tokenizer.pad_token_id
model = PeftModel.from_pretrained(base, "DIRECTORY")
"""


def _write(opened: OpenedRun, directory: RunDirectory, out: Path) -> list[str]:
    config, tokenizer = opened.config, opened.tokenizer
    method = build_method(config.method, task=model_class_of(config.task), server=config.server)
    exchanged = exchanged_kinds(opened.model, method).keys()
    write_adapter(opened.model.eval(), method, out, exchanged=exchanged)
    _name_base(out / CONFIG_NAME, public_name(config.model.name))
    base = load_base(
        config,
        method,
        label_names=directory.label_names(),
        pad_token_id=int(tokenizer.pad_token_id),
    ).model
    if config.model.quantization is None:  # a type of fewer bits would round what PEFT loads
        base.float()
        opened.model.float()
    loaded = PeftModel.from_pretrained(base, str(out)).eval()
    checked = check_same(
        outputs_of(opened.model, tokenizer),
        outputs_of(loaded, tokenizer),
        what="the adapter as loaded from its files",
        fix="fedtt export RUN DIR --format merged, which holds what changed in the base, too",
    )
    return [
        f"PEFT loads it over its base model, and it computes what the tuned one does: {checked}"
    ]


def _name_base(path: Path, name: str) -> None:
    """PEFT writes where the base model lies on this machine."""
    table = json.loads(path.read_text(encoding="utf-8"))
    table["base_model_name_or_path"] = name
    path.write_text(json.dumps(table, indent=2, sort_keys=True) + "\n", encoding="utf-8")


PEFT = ExportFormat(library="peft", loading=LOADING, write=_write)
