"""Padding is no part of a text: alone or in a batch, a decoder classifies it the same way."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_classifier
from tests.tiny import save_tiny_tokenizer

from fedtt.data import LabeledTexts, collate, tokenize
from fedtt.engine.evaluation import judge
from fedtt.models import BaseModelSpec, load_classifier, load_tokenizer
from fedtt.peft import TTAdapterConfig, adapt
from fedtt.tasks import classification

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
TEXTS = ("good", "the film was dull", "a really poor cast and the plot was so so awful", "the bad")


def save(place: Path, model_type: str, *, pad_token: bool, pad_in_config: int | None) -> None:
    model: Any = tiny_classifier(model_type)
    model.config.pad_token_id = model.config.get_text_config().pad_token_id = pad_in_config
    model.save_pretrained(place)
    save_tiny_tokenizer(place)
    path = place / "tokenizer_config.json"
    settings = json.loads(path.read_text()) | {"eos_token": "[SEP]", "padding_side": "left"}
    if not pad_token:
        del settings["pad_token"]
    path.write_text(json.dumps(settings))


@pytest.mark.parametrize("pad_token", [True, False])
@pytest.mark.parametrize("pad_in_config", [None, 0, 9])
@pytest.mark.parametrize(
    "model_type",
    [
        "llama",
        "gpt2",
        *(pytest.param(name, marks=pytest.mark.slow) for name in ("mistral", "qwen2", "gemma3")),
    ],
)
def test_a_text_alone_and_padded_has_the_same_logits(
    model_type: str, pad_in_config: int | None, pad_token: bool, tmp_path: Path
) -> None:
    """Token 9, which a config may wrongly name as its padding, is a word of the texts: "bad"."""
    save(tmp_path, model_type, pad_token=pad_token, pad_in_config=pad_in_config)
    tokenizer: Any = load_tokenizer(str(tmp_path))
    # Qwen2's own class of tokenizers adds one.
    without = "<|endoftext|>" if model_type == "qwen2" else "[SEP]"
    assert tokenizer.pad_token == ("[PAD]" if pad_token else without)
    base = load_classifier(
        BaseModelSpec(name=str(tmp_path), dtype="float32", device="cpu"),
        label_names=["no", "yes"],
        pad_token_id=tokenizer.pad_token_id,
        seed=0,
    ).model
    config = TTAdapterConfig(task_type="SEQ_CLS", rank=2, bottleneck=8, init_weights=False)
    model = adapt(base, config).eval()
    data = tokenize(LabeledTexts(texts=TEXTS, labels=(0,) * 4), tokenizer, max_length=16)
    alone = []
    for index in range(len(data)):
        ids = torch.from_numpy(data.input_ids(index).astype(np.int64))[None]
        with torch.no_grad():
            alone.append(model(input_ids=ids, attention_mask=torch.ones_like(ids)).logits)
    batch = collate(data, range(len(data)), pad_token_id=tokenizer.pad_token_id)
    del batch["labels"]
    with torch.no_grad():
        together = model(**batch).logits
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert float((together[0] - together[1]).abs().max()) > 1e-3  # texts do differ
    task = classification(tokenizer=tokenizer, pad_token_id=tokenizer.pad_token_id)
    outcomes = judge(model, task, {"texts": data}, batch_size=3)["texts"]
    torch.testing.assert_close(
        torch.from_numpy(outcomes["scores"]), torch.cat(alone), rtol=1e-4, atol=1e-5
    )
