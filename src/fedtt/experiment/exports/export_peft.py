"""The adapter as it is: a PEFT directory, for whoever has the base model."""

import shutil
from pathlib import Path

from fedtt.checksums import CHECKSUMS, check_checksums
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.opened_run import OpenedRun

LOADING = """
import fedtt  # PEFT then knows fedtt's adapters
from peft import PeftModel
from transformers import {auto}, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
base = {auto}.from_pretrained({base}{labels})
base.config.pad_token_id = tokenizer.pad_token_id
model = PeftModel.from_pretrained(base, "DIRECTORY")
"""


def _write(_opened: OpenedRun, directory: RunDirectory, out: Path) -> list[str]:
    check_checksums(directory.adapter_path)
    shutil.copytree(
        directory.adapter_path,
        out,
        dirs_exist_ok=True,
        ignore=shutil.ignore_patterns("README.md", CHECKSUMS),
    )
    return []


PEFT = ExportFormat(library="peft", loading=LOADING, write=_write)
