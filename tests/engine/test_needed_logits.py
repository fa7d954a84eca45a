"""Logits at the tokens that count are those of all tokens, at these; their gradients too."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.modeling_outputs import CausalLMOutput

from fedtt.config import RunConfig
from fedtt.data import LabeledTexts, collate
from fedtt.data.tokens import IGNORED
from fedtt.engine.build import Federation, build_federation
from fedtt.federated.local.needed_logits import AT, NO_TOKEN, needed_logits
from fedtt.tasks.language_modeling import before_targets

MakeConfig = Callable[..., RunConfig]
WORDS = {"kind": "label-words", "prompt": "the {text} was", "words": ["bad", "good"]}
COMPLETIONS = {"kind": "generation", "prompt": "{text} was", "completion": "label"}
METHODS = [
    {"name": "fedtt", "rank": 2, "bottleneck": 8},
    {"name": "lora", "rank": 2},
    {"name": "prompt", "num_tokens": 3},
    {"name": "prefix", "num_tokens": 3},
    {"name": "peft:lora", "options": {"r": 2, "target_modules": ["q_proj", "lm_head"]}},
    {"name": "full"},
]


def gradients(federation: Federation, loss: Tensor) -> Tensor:
    weights = [w for w in federation.model.parameters() if w.requires_grad]
    found = torch.autograd.grad(loss, weights, allow_unused=True)
    return torch.cat([g.flatten() for g in found if g is not None])


@pytest.fixture
def build(make_config: MakeConfig, tiny_llama: Path) -> Callable[[dict, dict], Federation]:
    def federation(method: dict, task: dict) -> Federation:
        model = {"name": str(tiny_llama), "max_length": 16, "device": "cpu"}
        return build_federation(make_config(method=method, task=task, model=model))

    return federation


@pytest.mark.parametrize("task", [WORDS, COMPLETIONS], ids=lambda task: task["kind"])
@pytest.mark.parametrize("method", METHODS, ids=lambda method: method["name"])
def test_they_are_those_of_all_tokens(
    build: Callable[[dict, dict], Federation], method: dict, task: dict
) -> None:
    federation = build(method, task)
    data = federation.splits["train"]["south"]
    batch = collate(data, [0, 1, 2, 3, 4], pad_token_id=0)
    assert len({int(n) for n in batch["attention_mask"].sum(dim=1)}) > 1  # some are padded
    model, positions = federation.model, federation.task.positions
    model.eval()
    assert positions is not None
    everywhere, _ = needed_logits(model, batch)
    few, seen = needed_logits(model, batch, positions=positions)
    at = seen[AT]
    assert few.shape[:2] == at.shape
    assert at.shape[1] < 4 < everywhere.shape[1] == batch["input_ids"].shape[1]
    expected = everywhere.gather(1, at[..., None].expand(-1, -1, everywhere.shape[2]))
    torch.testing.assert_close(few, expected)
    # A loss that is given all logits has the same value, and the same gradients.
    loss = federation.loss(data).of
    torch.testing.assert_close(loss(few, seen), loss(everywhere, batch))
    torch.testing.assert_close(
        gradients(federation, loss(few, seen)), gradients(federation, loss(everywhere, batch))
    )
    head = model.get_base_model().get_output_embeddings()
    assert not head._forward_pre_hooks  # nothing is left on the model


def test_the_positions_are_each_texts_own() -> None:
    labels = torch.tensor(
        [
            [IGNORED, IGNORED, 5, 6, IGNORED],
            [IGNORED, 7, IGNORED, 8, 9],
            [IGNORED, 4, IGNORED, IGNORED, IGNORED],
        ]
    )
    at = before_targets({"labels": labels})
    assert at.tolist() == [[1, 2, NO_TOKEN], [0, 2, 3], [0, NO_TOKEN, NO_TOKEN]]


class Unlike(nn.Module):
    """A language model whose output layer is none, is not called, or is called another way."""

    def __init__(self, way: str) -> None:
        super().__init__()
        self.way = way
        self.embeddings = nn.Embedding(7, 3)
        self.head = nn.Linear(3, 7)

    def get_output_embeddings(self) -> nn.Module | None:
        return None if self.way == "none" else self.head

    def forward(self, input_ids: Tensor) -> CausalLMOutput:
        hidden = self.embeddings.weight[input_ids].cumsum(dim=1)
        if self.way == "in parts":
            logits = torch.cat([self.head(hidden[:, :2]), self.head(hidden[:, 2:])], dim=1)
        elif self.way == "of four dimensions":
            logits = self.head(hidden[:, None])[:, 0]
        elif self.way == "by name":
            logits = self.head(input=hidden)
        else:
            logits = nn.functional.linear(hidden, self.head.weight, self.head.bias)
        return CausalLMOutput(logits=logits)


WAYS = ("none", "not called", "in parts", "of four dimensions", "by name")


@pytest.mark.parametrize("way", WAYS)
def test_a_model_whose_output_layer_is_unlike_others_has_them_too(way: str) -> None:
    model = Unlike(way)
    batch = {"input_ids": torch.tensor([[1, 2, 3], [4, 5, 6]])}
    at = torch.tensor([[2], [0]])
    few, seen = needed_logits(model, batch, positions=lambda _batch: at)
    everywhere, _ = needed_logits(model, batch)
    torch.testing.assert_close(few[:, 0], everywhere[[0, 1], [2, 0]])
    assert seen[AT] is at


def test_nothing_is_left_on_a_model_that_failed(
    build: Callable[[dict, dict], Federation],
) -> None:
    federation = build(METHODS[1], WORDS)
    head = federation.model.get_base_model().get_output_embeddings()
    data = federation.task.tokenize(LabeledTexts(texts=("film",), labels=(0,)), max_length=16)
    batch = collate(data, [0], pad_token_id=0)

    def fails(**_inputs: Tensor) -> None:
        raise RuntimeError("no memory")

    with pytest.raises(RuntimeError, match="no memory"):
        needed_logits(federation.model, batch, positions=federation.task.positions, call=fails)
    assert not head._forward_pre_hooks
