"""Base models whose blocks accelerate keeps on the disk or the CPU between two forwards."""

from pathlib import Path

import pytest
import torch
from accelerate import cpu_offload, dispatch_model
from tests.peft.methods import CONFIGS, OURS, adapted, masked_logits, train
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier, tokens
from torch import Tensor, nn

from fedtt.errors import ModelError
from fedtt.peft import TTAdapterConfig, adapt, exchanged_parameters, load_adapted

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
LABELS = torch.tensor([0, 1, 1, 0])


def offloaded(folder: Path, *, parts: tuple[str, ...] = ("bert.encoder",)) -> nn.Module:
    """A classifier whose ``parts`` are kept on the disk; their weights are placeholders."""
    base = tiny_classifier("bert")
    names = ["bert.embeddings", "bert.encoder", "bert.pooler", "classifier"]
    device_map = {name: "disk" if name in parts else "cpu" for name in names}
    dispatch_model(base, device_map, main_device="cpu", offload_dir=folder, force_hooks=True)
    return base


def kept_on_the_cpu() -> nn.Module:
    """As beside a GPU: the encoder's weights lie on the CPU, and come in for a forward."""
    base = tiny_classifier("bert")
    cpu_offload(base.bert.encoder, execution_device=torch.device("cpu"))
    return base


def gradients(model: nn.Module, ids: Tensor) -> dict[str, Tensor]:
    model.zero_grad()
    mask = torch.ones_like(ids)
    model.eval()(input_ids=ids, attention_mask=mask, labels=LABELS).loss.backward()
    return {name: model.get_parameter(name).grad for name in exchanged_parameters(model)}


@pytest.mark.parametrize("place", ["disk", "cpu"])
@pytest.mark.parametrize("method", OURS)
def test_it_computes_and_learns_as_over_a_base_in_memory(
    method: str, place: str, tmp_path: Path
) -> None:
    ids = tokens()
    base = offloaded(tmp_path) if place == "disk" else kept_on_the_cpu()
    assert base.get_parameter("bert.encoder.layer.0.output.dense.weight").is_meta
    models = adapted(base, method), adapted(tiny_classifier("bert"), method)
    for model in models:
        torch.manual_seed(1)  # of dropout
        train(model, ids, LABELS)
    torch.testing.assert_close(*(masked_logits(model, ids) for model in models))
    torch.testing.assert_close(*(gradients(model, ids) for model in models))


@pytest.mark.parametrize("method", OURS)
def test_a_saved_adapter_goes_onto_it(method: str, tmp_path: Path) -> None:
    ids = tokens()
    model = adapted(tiny_classifier("bert"), method)
    train(model, ids, LABELS)
    model.save_pretrained(tmp_path / "adapter")
    base = offloaded(tmp_path / "weights")
    loaded = load_adapted(base, tmp_path / "adapter")
    torch.testing.assert_close(masked_logits(loaded, ids), masked_logits(model, ids))
    assert base.hf_device_map["bert.encoder"] == "disk"


@pytest.mark.parametrize("low_memory", [False, True])
@pytest.mark.parametrize("method", OURS)
def test_a_second_adapter_goes_beside_the_first(
    method: str, low_memory: bool, tmp_path: Path
) -> None:
    ids = tokens()
    model = adapted(tiny_classifier("bert"), method)
    train(model, ids, LABELS)
    model.save_pretrained(tmp_path / "adapter")
    over = adapted(offloaded(tmp_path / "weights"), method)
    over.load_adapter(tmp_path / "adapter", "second", low_cpu_mem_usage=low_memory)
    over.set_adapter("second")
    torch.testing.assert_close(masked_logits(over, ids), masked_logits(model, ids))


def test_a_tensorized_classifier_layer_lies_where_the_offloaded_one_computes(
    tmp_path: Path,
) -> None:
    config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8, tensorize_classifier=True)
    ids, logits = tokens(), []
    parts = ("bert.encoder", "bert.pooler")
    for base in (offloaded(tmp_path, parts=parts), tiny_classifier("bert")):
        torch.manual_seed(0)
        model = adapt(base, config)
        torch.manual_seed(1)  # of dropout
        train(model, ids, LABELS)
        logits.append(masked_logits(model, ids))
    torch.testing.assert_close(*logits)


@pytest.mark.parametrize("method", ["lora-xs", "metatt"])
def test_a_matrix_is_merged_into_weights_kept_on_the_disk(method: str, tmp_path: Path) -> None:
    ids = tokens()
    model = adapted(offloaded(tmp_path), method)
    train(model, ids, LABELS)
    trained = masked_logits(model, ids)
    merged = model.merge_and_unload()
    torch.testing.assert_close(masked_logits(merged, ids), trained, atol=1e-5, rtol=0)


@pytest.mark.parametrize("method", ["full", "bitfit", "head", "tt"])
def test_what_would_train_placeholders_is_refused(method: str, tmp_path: Path) -> None:
    parts = ("bert.encoder", "classifier") if method in {"head", "tt"} else ("bert.encoder",)
    with pytest.raises(ModelError, match="an offloaded layer cannot be trained") as caught:
        adapt(offloaded(tmp_path, parts=parts), CONFIGS[method]("SEQ_CLS"))
    assert "leave that part" in str(caught.value)
