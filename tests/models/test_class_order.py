"""A base model that classifies already: its rows go by name, or a note says that they do not."""

from pathlib import Path

import pytest
import torch
from tests.tiny import save_tiny_bert
from transformers import AutoModelForSequenceClassification, PreTrainedModel

from fedtt.models import BaseModelSpec, LoadedModel, load_classifier


def saved(folder: Path, names: list[str] | None) -> PreTrainedModel:
    """A classifier of three classes in ``folder``, whose rows differ."""
    save_tiny_bert(folder)
    torch.manual_seed(0)
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=3, ignore_mismatched_sizes=True
    )
    torch.nn.init.normal_(model.classifier.bias)
    if names is not None:
        model.config.id2label = dict(enumerate(names))
        model.config.label2id = {name: index for index, name in enumerate(names)}
    model.save_pretrained(folder)
    return model


def load(folder: Path, names: list[str]) -> LoadedModel:
    return load_classifier(
        BaseModelSpec(name=str(folder), dropout=0.0, dtype="float32", device="cpu"),
        label_names=names,
        pad_token_id=0,
        seed=0,
    )


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(input_ids=torch.tensor([[5, 6, 7], [8, 9, 5]])).logits


def test_rows_are_placed_by_name_whatever_the_order_and_case(tmp_path: Path) -> None:
    own = saved(tmp_path, ["Good", "bad", "PLAIN"])
    loaded = load(tmp_path, ["bad", "plain", "good"])
    torch.testing.assert_close(logits(loaded.model), logits(own)[:, [1, 2, 0]])
    assert loaded.model.config.id2label == {0: "bad", 1: "plain", 2: "good"}
    (note,) = loaded.notes
    assert "rows are placed by name" in note


def test_the_same_order_is_left_alone_without_a_word(tmp_path: Path) -> None:
    own = saved(tmp_path, ["bad", "plain", "good"])
    loaded = load(tmp_path, ["bad", "plain", "good"])
    torch.testing.assert_close(logits(loaded.model), logits(own))
    assert loaded.notes == ()


@pytest.mark.parametrize("names", [["yes", "no", "maybe"], ["bad", "plain", "Bad"]])
def test_other_names_are_taken_row_for_row_and_said(tmp_path: Path, names: list[str]) -> None:
    own = saved(tmp_path, names)
    loaded = load(tmp_path, ["bad", "plain", "good"])
    torch.testing.assert_close(logits(loaded.model), logits(own))
    (note,) = loaded.notes
    assert "row for row" in note


def test_rows_without_names_stay(tmp_path: Path) -> None:
    own = saved(tmp_path, None)
    loaded = load(tmp_path, ["bad", "plain", "good"])
    torch.testing.assert_close(logits(loaded.model), logits(own))
    assert loaded.notes == ()


def test_a_new_head_has_no_order(tmp_path: Path) -> None:
    saved(tmp_path, ["Good", "bad", "PLAIN"])
    assert load(tmp_path, ["bad", "good"]).notes == ()
