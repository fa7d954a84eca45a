"""What can be wrong with a base model's files: found, and said so before anything is trained."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import BertConfig, BertForMaskedLM, PreTrainedModel, ViTConfig

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.errors import ModelError
from fedtt.models import (
    BaseModelSpec,
    LoadedModel,
    build_empty_model,
    load_classifier,
    load_model_config,
    load_tokenizer,
    resolve_device,
)
from tests.peft.tiny_architectures import tiny_classifier

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def copy(tiny_bert: Path, tmp_path: Path) -> Path:
    """A copy of the tiny BERT, to break."""
    return Path(shutil.copytree(tiny_bert, tmp_path / "bert"))


def edit(path: Path, **values: object) -> None:
    path.write_text(json.dumps({**json.loads(path.read_text()), **values}))


def load(directory: Path, *, num_labels: int = 2) -> LoadedModel:
    return load_classifier(
        BaseModelSpec(name=str(directory), dtype="float32", device="cpu"),
        label_names=[f"label {index}" for index in range(num_labels)],
        pad_token_id=0,
        seed=0,
    )


def same(first: PreTrainedModel, second: PreTrainedModel) -> set[str]:
    others = dict(second.named_parameters())
    return {n for n, weight in first.named_parameters() if torch.equal(weight, others[n])}


# Weights


def test_a_final_projection_for_another_number_of_classes_is_drawn(copy: Path) -> None:
    two, three = load(copy), load(copy, num_labels=3)
    assert three.model.classifier.weight.shape == (3, 32)
    base = {name for name, _ in two.model.named_parameters() if name.startswith("bert.")}
    matching = {n for n in base if torch.equal(*(m.model.get_parameter(n) for m in (two, three)))}
    assert matching == base
    assert two.drawn == ()


def test_weights_of_another_shape_are_refused(copy: Path) -> None:
    edit(copy / "config.json", hidden_size=64)
    with pytest.raises(ModelError, match="the weights are not those of the model") as caught:
        load(copy, num_labels=3)
    text = str(caught.value)
    # All 39 tensors of the encoder but the two biases of the intermediate layers.
    assert "37 weights of another shape and 0 missing: bert.embeddings.LayerNorm.bias [32]" in text
    assert "expected: bert.embeddings.LayerNorm.bias [64]" in text


def test_a_missing_weight_of_the_encoder_is_refused(copy: Path) -> None:
    weights = load_file(copy / "model.safetensors")
    del weights["bert.encoder.layer.1.output.dense.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"0 weights of another shape and 1 missing: .*layer\.1"):
        load(copy)


def test_a_dense_layer_of_the_head_must_fit_too(tmp_path: Path) -> None:
    tiny_classifier("roberta").save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    weights["classifier.dense.weight"] = torch.zeros(24, 30)
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ModelError, match=r"1 weights .* classifier\.dense\.weight \[24, 30\]"):
        load(tmp_path)


def save_masked_lm(directory: Path) -> None:
    """The checkpoint of a masked LM in place of the classifier's: no pooler, no classifier."""
    BertForMaskedLM(BertConfig.from_pretrained(directory)).save_pretrained(directory)


def test_layers_of_the_head_that_the_checkpoint_lacks_are_named(copy: Path) -> None:
    save_masked_lm(copy)
    loaded = load(copy)
    layers = {name.rpartition(".")[0] for name in loaded.drawn}
    assert layers == {"bert.pooler.dense", "classifier"}
    assert same(loaded.model, load(copy).model) == {n for n, _ in loaded.model.named_parameters()}


@pytest.mark.parametrize(
    ("method", "noted"),
    [
        ({"name": "fedtt", "rank": 2, "bottleneck": 8}, True),
        ({"name": "fedtt", "rank": 2, "bottleneck": 8, "tensorize_classifier": True}, False),
        ({"name": "head"}, True),
        ({"name": "full"}, False),
    ],
)
def test_a_random_layer_that_nothing_trains_is_noted(
    method: dict, noted: bool, copy: Path, make_config: MakeConfig
) -> None:
    save_masked_lm(copy)
    model = {"name": str(copy), "max_length": 16, "device": "cpu"}
    notes = build_federation(make_config(model=model, method=method)).notes
    assert [note.split(" (")[0] for note in notes] == noted * [
        "bert.pooler.dense is not in the base model's weights: it is drawn at random and stays so"
    ]


def test_truncated_weights(copy: Path) -> None:
    weights = copy / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(ModelError, match=r"cannot load the base model(.|\n)*SafetensorError"):
        load(copy)


# Configuration


@pytest.mark.parametrize("kind", ["regression", "multi_label_classification"])
def test_a_problem_type_left_in_the_configuration_does_not_matter(copy: Path, kind: str) -> None:
    edit(copy / "config.json", problem_type=kind)
    ids = torch.tensor([[2, 5, 3]])
    output = load(copy).model(input_ids=ids, labels=torch.tensor([1]))
    expected = torch.nn.functional.cross_entropy(output.logits, torch.tensor([1]))
    assert output.loss.item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"num_attention_heads": 5}, r"hidden size \(32\) is not a multiple"),
        ({"hidden_size": "wide"}, "hidden_size"),
        ({"hidden_act": "gelo"}, "KeyError: 'gelo'"),
    ],
)
def test_a_configuration_that_describes_no_model(copy: Path, values: dict, text: str) -> None:
    edit(copy / "config.json", **values)
    with pytest.raises(ModelError, match=rf"cannot load the base model(.|\n)*got: .*{text}"):
        build_empty_model(load_model_config(str(copy)), task="classification")
    with pytest.raises(ModelError, match=text):
        load(copy)


def test_a_model_of_something_else_is_refused_in_a_few_lines() -> None:
    with pytest.raises(ModelError, match=r"ViTConfig(.|\n)*of a language model") as caught:
        build_empty_model(ViTConfig(), task="classification")
    assert len(str(caught.value)) < 1000


def test_code_of_a_repository_is_never_run(copy: Path) -> None:
    marker = copy / "ran"
    (copy / "own.py").write_text(f"open({str(marker)!r}, 'w')\n")
    classes = {"AutoConfig": "own.C", "AutoModelForSequenceClassification": "own.M"}
    edit(copy / "config.json", auto_map=classes)
    load(copy)  # transformers has the architecture itself
    edit(copy / "config.json", model_type="own")
    with pytest.raises(ModelError, match="needs code of its own repository, which fedtt does not"):
        load_model_config(str(copy))
    with pytest.raises(ModelError, match="another model, or a version of it without auto_map"):
        load(copy)
    assert not marker.exists()


def test_the_meta_device_holds_no_values() -> None:
    with pytest.raises(ModelError, match=r"model.device\n  got: meta"):
        resolve_device("meta")


# Tokenizers


def test_a_directory_without_a_tokenizer_is_refused(copy: Path) -> None:
    for path in copy.glob("tokenizer*"):
        path.unlink()
    with pytest.raises(ModelError, match=r"no tokens but special ones(.|\n)*got: 5 tokens"):
        load_tokenizer(str(copy))


@pytest.mark.parametrize(
    "content", ["{", "{}", "[]", '{"version": "1.0", "added_tokens": [], "model": {}}']
)
def test_a_broken_tokenizer_file(copy: Path, content: str) -> None:
    (copy / "tokenizer.json").write_text(content)
    with pytest.raises(ModelError, match="cannot load the base model"):
        load_tokenizer(str(copy))


@pytest.mark.parametrize("kind", ["word", "pad"])
def test_tokens_without_an_embedding_are_refused(copy: Path, kind: str) -> None:
    tokenizer = load_tokenizer(str(copy))
    if kind == "word":
        tokenizer.add_tokens(["marvellous"])
    else:
        tokenizer.add_special_tokens({"pad_token": "[FILL]"})
    tokenizer.save_pretrained(copy)
    with pytest.raises(ModelError, match="the model has no embedding for") as caught:
        load_tokenizer(str(copy))
    assert "got: token id 24" in str(caught.value)
    assert "expected: ids below vocab_size = 24" in str(caught.value)


def test_a_special_token_that_no_text_gets_may_lack_an_embedding(copy: Path) -> None:
    """Gemma 3's image token, in its models without a vision tower."""
    tokenizer = load_tokenizer(str(copy))
    tokenizer.add_special_tokens({"additional_special_tokens": ["<image>"]})
    tokenizer.save_pretrained(copy)
    assert len(load_tokenizer(str(copy))) == 25


@pytest.mark.parametrize("name", ["9" * 5000, "~nobody-here/model", "a\0b"])
def test_a_name_that_no_file_can_have_is_no_model(name: str) -> None:
    with pytest.raises(ModelError, match="cannot load the base model"):
        load_model_config(name)
