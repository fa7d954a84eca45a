"""``model.dropout`` is every rate of a model, its head's too."""

import pytest
from torch import nn
from transformers import (
    AlbertConfig,
    BertConfig,
    DistilBertConfig,
    ElectraConfig,
    LlamaConfig,
    ModernBertConfig,
    PretrainedConfig,
    RobertaConfig,
)

from fedtt.models.configuration import build_empty_model, set_dropout

SIZES = {"num_hidden_layers": 1, "vocab_size": 30}
CONFIGS = [
    (BertConfig, {"hidden_dropout_prob": 0.1, "classifier_dropout": 0.3}),
    (RobertaConfig, {"hidden_dropout_prob": 0.1, "classifier_dropout": 0.3}),
    (ElectraConfig, {"classifier_dropout": 0.3}),
    (AlbertConfig, {"classifier_dropout_prob": 0.3, "hidden_dropout_prob": 0.2}),
    (DistilBertConfig, {"seq_classif_dropout": 0.3, "dropout": 0.2}),
    (ModernBertConfig, {"classifier_dropout": 0.3, "mlp_dropout": 0.2, "embedding_dropout": 0.1}),
    (LlamaConfig, {"attention_dropout": 0.3}),
]


@pytest.mark.parametrize(("kind", "rates"), CONFIGS, ids=lambda v: getattr(v, "__name__", ""))
@pytest.mark.parametrize("rate", [0.0, 0.25])
def test_it_reaches_every_rate(kind: type[PretrainedConfig], rates: dict, rate: float) -> None:
    config = kind(**SIZES, **rates, pad_token_id=0)
    set_dropout(config, rate)
    model = build_empty_model(config, task="classification")
    found = {m.p for m in model.modules() if isinstance(m, nn.Dropout)}
    attention = {m.attention_dropout for m in model.modules() if hasattr(m, "attention_dropout")}
    assert {p for p in found | attention if isinstance(p, float)} <= {rate}
    assert {getattr(config, name) for name in rates} == {rate}
