"""One ONNX graph from tokens to outputs, run by onnxruntime and compared before it is kept."""

import logging
import warnings
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from fedtt.errors import ModelError, RunError
from fedtt.experiment.directory import RunDirectory
from fedtt.experiment.exports.export_format import ExportFormat
from fedtt.experiment.exports.export_merged import merge
from fedtt.experiment.exports.same_outputs import (
    Outputs,
    at_tokens,
    check_same,
    inputs_for,
    outputs_of,
    probes,
)
from fedtt.experiment.opened_run import OpenedRun
from fedtt.extras import check_extra
from fedtt.quiet_logger import quiet_logger

FILE = "model.onnx"
LOADING = """
import onnxruntime
from transformers import AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained("DIRECTORY")
session = onnxruntime.InferenceSession("DIRECTORY/model.onnx")
names = [node.name for node in session.get_inputs()]
tokens = tokenizer(["a text"], return_tensors="np", padding=True)
(logits,) = session.run(None, {{name: tokens[name].astype("int64") for name in names}})
"""


class _Logits(nn.Module):
    """A model of tensors, in the order of ``names``, whose only output is its logits."""

    def __init__(self, model: nn.Module, names: tuple[str, ...]) -> None:
        super().__init__()
        self.model = model
        self.names = names

    def forward(self, *tensors: Tensor) -> Tensor:
        """``(texts, tokens)`` each -> the logits."""
        logits: Tensor = self.model(**dict(zip(self.names, tensors, strict=True))).logits
        return logits


def _check() -> None:
    check_extra("onnx")


def _write(opened: OpenedRun, _directory: RunDirectory, out: Path) -> list[str]:
    if opened.config.model.quantization is not None:
        raise RunError(
            "a quantized base model has no ONNX graph",
            where=f"model.quantization = {opened.config.model.quantization!r}",
            fix="fedtt export RUN DIR --format peft",
        )
    opened.model.float().cpu().eval()
    model = _merged_or_whole(opened)
    model.config.use_cache = False  # type: ignore[union-attr]
    expected = outputs_of(model, opened.tokenizer)
    _export(model, opened, out / FILE)
    checked = check_same(expected, _run(out / FILE, opened), what="the ONNX graph")
    return [f"onnxruntime runs it, and it computes what the tuned model does: {checked}"]


def _merged_or_whole(opened: OpenedRun) -> nn.Module:
    """Merged, the graph is smaller; a graph holds an adapter that cannot be merged as well."""
    whole = deepcopy(opened.model)
    try:
        return merge(opened)
    except (ModelError, RunError):
        adapted: nn.Module = whole.float().eval()
        return adapted


def _export(model: nn.Module, opened: OpenedRun, path: Path) -> None:
    names = inputs_for(model, opened.tokenizer)
    example = probes(model, opened.tokenizer)[1]
    any_size = {0: torch.export.Dim.DYNAMIC, 1: torch.export.Dim.DYNAMIC}
    try:
        with warnings.catch_warnings(), quiet_logger("torch.onnx", level=logging.ERROR):
            warnings.simplefilter("ignore")  # of torch's own exporter, which deprecates its parts
            program = torch.onnx.export(
                _Logits(model, names).eval(),
                tuple(example[name] for name in names),
                input_names=list(names),
                output_names=["logits"],
                dynamic_shapes={"tensors": tuple(any_size for _ in names)},
                dynamo=True,
                verbose=False,
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        reason = str(error).strip().splitlines()
        raise ModelError(
            "torch cannot make an ONNX graph of this model",
            where=type(model).__name__,
            got=reason[0][:200] if reason else type(error).__name__,
            fix="fedtt export RUN DIR --format peft",
        ) from error
    if program is None:
        raise AssertionError("torch.onnx.export with dynamo gives a program")
    _forget_places(program.model)
    program.save(str(path))


def _forget_places(model: Any) -> None:
    """Take out the exporter's notes: stack traces have the paths of this machine."""
    for graph in (model.graph, *model.functions.values()):
        graph.metadata_props.clear()
        for value in (*graph.inputs, *graph.outputs, *_values_of(graph)):
            value.metadata_props.clear()
        for node in graph.all_nodes():
            node.metadata_props.clear()
            for value in node.outputs:
                value.metadata_props.clear()
    model.metadata_props.clear()


def _values_of(graph: Any) -> tuple[Any, ...]:
    """Those that a graph holds; a function holds none."""
    return tuple(getattr(graph, "initializers", {}).values())


def _run(path: Path, opened: OpenedRun) -> Outputs:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [node.name for node in session.get_inputs()]
    found = []
    for probe in probes(opened.model, opened.tokenizer):
        (logits,) = session.run(None, {name: probe[name].numpy() for name in names})
        found.append(at_tokens(torch.from_numpy(logits), probe))
    return found


ONNX = ExportFormat(library="onnx", loading=LOADING, write=_write, check=_check)
