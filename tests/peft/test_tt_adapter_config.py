from dataclasses import fields

import numpy as np
import pytest
from peft import PeftConfig
from peft.utils.peft_types import PeftType

import fedtt
from fedtt.errors import ConfigError
from fedtt.peft import BottleneckAdapterConfig, LoRAXSConfig, TTAdapterConfig


def test_every_field_has_a_help_text():
    assert [f.name for f in fields(TTAdapterConfig) if not f.metadata.get("help")] == []


def test_the_defaults_are_those_of_the_paper():
    config = TTAdapterConfig()
    assert (config.rank, config.bottleneck, config.bias) == (5, 64, False)
    assert config.peft_type is PeftType.TT_ADAPTER
    assert fedtt.TTAdapterConfig is TTAdapterConfig


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"rank": 0}, "expected: positive integers"),
        ({"rank": True}, "rank is out of range"),
        ({"rank": ()}, "expected: positive integers"),
        ({"rank": 5.0}, "expected: positive integers"),
        ({"rank": None}, "expected: positive integers"),
        ({"rank": "5"}, "expected: positive integers"),
        ({"rank": (1, 2.0, 1)}, "expected: positive integers"),
        ({"in_modes": [4.0, 8.0]}, r"TTAdapterConfig.in_modes(.|\n)*expected: positive integers"),
        ({"out_modes": 8}, r"TTAdapterConfig.out_modes(.|\n)*expected: positive integers"),
        ({"out_modes": []}, r"TTAdapterConfig.out_modes(.|\n)*expected: positive integers"),
        ({"classifier_rank": 0}, "expected: a positive integer"),
        ({"classifier_rank": 2.5}, "TTAdapterConfig.classifier_rank"),
        ({"bottleneck": 0}, "expected: a positive integer"),
        ({"activation": "gelo"}, "expected: one of gelu, relu, silu, tanh"),
        ({"bottleneck": 64.0}, "expected: a positive integer"),
        ({"activation": []}, "expected: one of gelu, relu, silu, tanh"),
        ({"dropout": "x"}, "dropout is out of range"),
        ({"dropout": True}, "dropout is out of range"),
        ({"scaling": None}, "expected: a finite number"),
        ({"tensorize_classifier": "no"}, r"tensorize_classifier(.|\n)*True or False"),
        ({"init_weights": 1}, r"init_weights(.|\n)*True or False"),
        ({"dropout": 1.0}, r"expected: a probability in \[0, 1\)"),
        ({"dropout": float("nan")}, "dropout is out of range"),
        ({"scaling": float("inf")}, "expected: a finite number"),
        ({"bias": "none"}, "expected: True or False"),
        ({"rank": (1, 2, 1), "tensorize_classifier": True}, "fix: set classifier_rank"),
    ],
)
def test_a_value_out_of_range_is_refused_where_it_is_written(values, text):
    with pytest.raises(ConfigError, match=text) as caught:
        TTAdapterConfig(**values)
    assert "where: TTAdapterConfig." in str(caught.value)
    assert isinstance(caught.value, ValueError)


def test_it_survives_its_file(tmp_path):
    config = TTAdapterConfig(
        rank=(1, 2, 3, 2, 1),
        in_modes=(6, 4),
        out_modes=(2, 4),
        bias=True,
        target_modules=("b", "a"),
        modules_to_save=("head",),
        task_type="SEQ_CLS",
    )
    config.save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert type(loaded) is TTAdapterConfig
    assert loaded.rank == [1, 2, 3, 2, 1]
    assert loaded.target_modules == ["a", "b"]
    assert loaded.peft_type is PeftType.TT_ADAPTER
    assert loaded.bias is True


def test_numbers_of_numpy_are_numbers(tmp_path):
    config = TTAdapterConfig(
        rank=np.int64(2),
        bottleneck=np.int32(8),
        dropout=np.float32(0.5),
        scaling=np.float64(2),
        in_modes=np.array([6, 4]),
        out_modes=[np.int16(8)],
    )
    config.save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert (loaded.rank, loaded.bottleneck, loaded.dropout, loaded.scaling) == (2, 8, 0.5, 2.0)
    assert (loaded.in_modes, loaded.out_modes) == ([6, 4], [8])
    with pytest.raises(ConfigError, match="rank is out of range"):
        TTAdapterConfig(rank=np.int64(0))
    for config in (BottleneckAdapterConfig(bottleneck=np.int64(2)), LoRAXSConfig(r=np.int64(2))):
        config.save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"LoRAXSConfig\.alpha"):
        LoRAXSConfig(alpha="16")


def test_lists_that_peft_extends_are_the_configs_own():
    heads = ["head"]
    TTAdapterConfig(modules_to_save=heads).modules_to_save.append("classifier")
    assert heads == ["head"]
