"""A client's memory without weights, against what autograd keeps of real weights."""

import pytest
import torch
from tests.peft.tiny_architectures import PEFT_WARNING, VOCABULARY, tiny_config
from torch import Tensor, nn

from fedtt.config import parse_method
from fedtt.engine.build_method import build_method
from fedtt.engine.cost import empty_adapted, exchanged_kinds, put_into
from fedtt.engine.memory import ClientMemory, count_memory, held_bytes, saved_bytes
from fedtt.models import TASK_CLASSES

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
BATCH, LENGTH = 3, 10


def config_of(model_type: str, *, dtype: torch.dtype = torch.float32, **overrides):
    config = tiny_config(model_type, problem_type="single_label_classification", **overrides)
    config.dtype = dtype
    return config


def measured(config, name: str, *, task: str, batch: int = BATCH) -> int:
    """Bytes of the distinct storages that autograd saves in a real step, weights left out.

    The batch is padded, as batches of texts are; attention takes another way where none is.
    """
    method = build_method(parse_method(name, overrides=()), task=task)
    base = TASK_CLASSES[task].from_config(config, dtype=config.dtype)
    model = put_into(base, method)
    trained = exchanged_kinds(model, method)
    for parameter_name, parameter in model.named_parameters():
        parameter.requires_grad_(parameter_name in trained)
    ids = torch.randint(3, VOCABULARY, (batch, LENGTH))
    mask = torch.ones_like(ids)
    mask[0, -2:] = 0
    labels = ids.clone() if task == "causal" else torch.arange(batch) % 2
    addresses = {t.data_ptr() for t in (*model.parameters(), *model.buffers())}
    kept: dict[int, Tensor] = {}

    def keep(tensor: Tensor) -> Tensor:
        address = tensor.untyped_storage().data_ptr()
        if address and address not in addresses:
            kept[address] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        loss = model.train()(input_ids=ids, attention_mask=mask, labels=labels).loss
    loss.backward()  # the tensors were what a backward pass needs
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())


def counted(config, name: str, *, task: str, batch: int = BATCH) -> ClientMemory:
    method = build_method(parse_method(name, overrides=()), task=task)
    model, kinds = empty_adapted(config, method, task=task)
    return count_memory(model, set(kinds), task=task, batch_size=batch, length=LENGTH)


@pytest.mark.parametrize("name", ["fedtt", "lora", "ffa-lora", "full"])
@pytest.mark.parametrize(("model_type", "task"), [("bert", "classification"), ("llama", "causal")])
def test_activations_are_to_the_byte_what_autograd_keeps(
    model_type: str, task: str, name: str
) -> None:
    config = config_of(model_type)
    memory = counted(config, name, task=task)
    assert memory.activation_bytes == measured(config, name, task=task)


@pytest.mark.parametrize(
    ("model_type", "task", "name"),
    [
        ("deberta-v2", "classification", "fedtt"),
        ("llama", "classification", "prefix"),
        ("roberta", "classification", "vera"),
        ("qwen2", "causal", "fedtt+"),
        ("gpt2", "causal", "ia3"),
    ],
)
def test_so_they_are_for_other_architectures_and_methods(
    model_type: str, task: str, name: str
) -> None:
    config = config_of(model_type)
    memory = counted(config, name, task=task)
    assert memory.activation_bytes == measured(config, name, task=task)


@pytest.mark.parametrize("name", ["fedtt", "lora"])
def test_so_they_are_in_half_precision(name: str) -> None:
    config = config_of("llama", dtype=torch.bfloat16)
    memory = counted(config, name, task="causal")
    assert memory.activation_bytes == measured(config, name, task="causal")
    wide = counted(config_of("llama"), name, task="causal").activation_bytes
    assert wide is not None
    assert memory.activation_bytes < 0.9 * wide


def test_the_head_alone_keeps_what_a_linear_layer_and_its_loss_need() -> None:
    # Float32 inputs of the projection 3 x 24, log-probabilities 3 x 2, labels of 8 bytes, and the
    # number of labels that count: 288 + 24 + 24 + 4.
    assert counted(config_of("bert"), "head", task="classification").activation_bytes == 340


def test_activations_are_affine_in_the_batch() -> None:
    config = config_of("llama")
    two, four, six = (
        counted(config, "lora", task="causal", batch=batch).activation_bytes for batch in (2, 4, 6)
    )
    assert None not in {two, four, six}
    assert six - four == four - two > 0


def test_trained_parameters_are_held_four_times_in_float32_and_the_rest_once() -> None:
    memory = counted(config_of("bert", dtype=torch.bfloat16), "fedtt", task="classification")
    # TT 24 x 64, rank 5, modes [6, 4 | 8, 8]: 370 = 30 + 100 + 200 + 40; 8 of them; the head has
    # 24 x 2 + 2.
    assert memory.trained_parameters == 8 * 370 + 50
    assert memory.trained_bytes == 4 * 4 * 3010
    base = TASK_CLASSES["classification"].from_config(config_of("bert"))
    # PEFT keeps the head that it trains a copy of; position ids and token types are of 8 bytes.
    numbers = sum(parameter.numel() for parameter in base.parameters())
    assert memory.frozen_bytes == 2 * numbers + 2 * 8 * 40
    assert memory.activation_bytes is not None
    assert memory.total_bytes == (
        memory.frozen_bytes + memory.trained_bytes + memory.activation_bytes
    )


def test_full_tuning_holds_no_second_base_model() -> None:
    config = config_of("llama", dtype=torch.bfloat16)
    memory = counted(config, "full", task="causal")
    assert memory.trained_bytes == 16 * memory.trained_parameters
    # The rotary frequencies of heads as wide as 12, which transformers holds twice.
    assert memory.frozen_bytes == 2 * 6 * 4


def test_tied_weights_are_held_once() -> None:
    tied, own = (
        held_bytes(TASK_CLASSES["causal"].from_config(config_of("llama", tie_word_embeddings=tie)))
        for tie in (True, False)
    )
    assert own - tied == 4 * VOCABULARY * 24


class ReadsValues(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(2, device="meta"))

    def forward(self, **batch: Tensor) -> Tensor:
        return self.weight * float(batch["input_ids"].sum())


def test_a_forward_pass_that_reads_values_is_not_guessed_at() -> None:
    model = ReadsValues()
    memory = count_memory(model, {"weight"}, task="causal", batch_size=2, length=4)
    assert (memory.trained_bytes, memory.activation_bytes, memory.total_bytes) == (32, None, None)
    assert memory.activation_problem is not None
    assert "_local_scalar_dense" in memory.activation_problem


class SavesTheSameTwice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1, device="meta"))

    def forward(self, input_ids: Tensor, **_: Tensor):
        class Output:
            # exp keeps its result; a product its factors: the same tensor, and views of it
            root = (input_ids.float() * self.weight).exp()
            loss = (root * root.flatten().view_as(root)).sum()

        return Output


def test_a_storage_counts_once_and_weights_do_not() -> None:
    # The product with the weight keeps its float32 inputs, 2 x 4; then one result of that size.
    assert saved_bytes(SavesTheSameTwice(), task="causal", batch_size=2, length=4) == 2 * 4 * 2 * 4
