import copy
import enum
import importlib
import os
import pickle
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest
from peft import PeftConfig, get_peft_model
from peft.mapping import (
    PEFT_TYPE_TO_CONFIG_MAPPING,
    PEFT_TYPE_TO_PREFIX_MAPPING,
    PEFT_TYPE_TO_TUNER_MAPPING,
)
from peft.utils.peft_types import PeftType
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_lm

import fedtt
from fedtt import _peft_hook
from fedtt.peft import (
    BottleneckAdapterConfig,
    BottleneckAdapterModel,
    FullConfig,
    FullModel,
    LoRAXSConfig,
    LoRAXSModel,
    MetaTTConfig,
    MetaTTModel,
    TTAdapterConfig,
    TTAdapterModel,
)
from fedtt.peft.peft_type import extend_string_enum, peft_type
from fedtt.peft.register import register_adapter

TT_ADAPTER = peft_type("TT_ADAPTER")


def check_member(enum_class, member):
    """The member behaves like one that was written in the class."""
    name = member.name
    assert member == name == member.value
    assert enum_class(name) is enum_class[name] is getattr(enum_class, name) is member
    assert member in enum_class
    assert member in list(enum_class)
    assert name in list(enum_class)
    assert {member: 1}[name] == 1
    assert {name: 1}[member] == 1
    assert copy.copy(member) is copy.deepcopy(member) is member
    assert pickle.loads(pickle.dumps(member)) is member
    with pytest.raises(AttributeError):
        setattr(enum_class, name, "other")


class Fruit(str, enum.Enum):  # noqa: UP042 (PeftType is one, and no StrEnum)
    APPLE = "APPLE"


def test_a_string_enum_gets_a_member_like_its_own():
    pear = extend_string_enum(Fruit, "PEAR")
    assert extend_string_enum(Fruit, "PEAR") is pear
    assert [fruit.name for fruit in Fruit] == ["APPLE", "PEAR"]
    for member in Fruit:
        check_member(Fruit, member)
    assert repr(pear) == repr(Fruit.APPLE).replace("APPLE", "PEAR")
    with pytest.raises(ValueError, match="PLUM"):
        Fruit("PLUM")


def test_peft_knows_the_tt_adapter():
    check_member(PeftType, TT_ADAPTER)
    assert PEFT_TYPE_TO_CONFIG_MAPPING["TT_ADAPTER"] is TTAdapterConfig
    assert PEFT_TYPE_TO_TUNER_MAPPING[TT_ADAPTER] is TTAdapterModel
    assert PEFT_TYPE_TO_PREFIX_MAPPING[TT_ADAPTER] == "tt_adapter_"


@pytest.mark.parametrize(
    ("name", "config", "model"),
    [
        ("BOTTLENECK_ADAPTER", BottleneckAdapterConfig, BottleneckAdapterModel),
        ("LORA_XS", LoRAXSConfig, LoRAXSModel),
        ("METATT", MetaTTConfig, MetaTTModel),
        ("FULL", FullConfig, FullModel),
    ],
)
def test_peft_knows_our_other_adapters(name, config, model, tmp_path):
    member = PeftType[name]
    check_member(PeftType, member)
    assert PEFT_TYPE_TO_CONFIG_MAPPING[name] is config
    assert PEFT_TYPE_TO_TUNER_MAPPING[member] is model
    assert PEFT_TYPE_TO_PREFIX_MAPPING[member] == model.prefix
    config().save_pretrained(tmp_path)
    loaded = PeftConfig.from_pretrained(tmp_path)
    assert (type(loaded), loaded.peft_type) == (config, member)
    own = set(vars(config())) - set(vars(PeftConfig()))
    helped = {field.name for field in fields(config) if field.metadata.get("help")}
    assert own <= helped


def test_registering_again_changes_nothing():
    members = list(PeftType)
    register_adapter("TT_ADAPTER", config=TTAdapterConfig, model=TTAdapterModel)
    importlib.reload(sys.modules["fedtt.peft.peft_type"])
    _peft_hook.install()
    register_adapter("TT_ADAPTER", config=TTAdapterConfig, model=TTAdapterModel)
    assert list(PeftType) == members
    assert PEFT_TYPE_TO_TUNER_MAPPING[TT_ADAPTER] is TTAdapterModel
    assert not [f for f in sys.meta_path if isinstance(f, _peft_hook._PeftFinder)]


def run_python(code, *arguments):
    source = str(Path(fedtt.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": source}
    return subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, *arguments],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def test_importing_fedtt_is_light():
    code = (
        "import sys, fedtt; from fedtt import errors; print(fedtt.__version__);"
        "print([m for m in ('torch', 'transformers', 'peft', 'matplotlib') if m in sys.modules])"
    )
    done = run_python(code)
    assert done.stdout.split("\n")[:2] == [fedtt.__version__, "[]"], done.stderr


def test_peft_is_imported_without_what_bitsandbytes_would_rather_have():
    code = (
        "import logging, fedtt, peft;"
        "print(logging.getLogger('bitsandbytes.backends.cpu.ops').level == logging.NOTSET)"
    )
    done = run_python(code)
    assert done.stdout.strip() == "True", done.stderr
    assert "kernels" not in done.stderr


LOAD = """
import sys, torch
from peft import PeftModel
from transformers import AutoModelForCausalLM
assert not [f for f in sys.meta_path if type(f).__name__ == "_PeftFinder"]
base = AutoModelForCausalLM.from_pretrained(sys.argv[1])
model = PeftModel.from_pretrained(base, sys.argv[2])
print(type(model.base_model).__name__, type(model.peft_config["default"]).__name__)
"""


@pytest.mark.filterwarnings(PEFT_WARNING)
@pytest.mark.parametrize(
    "first",
    [
        "import fedtt",
        *(
            pytest.param(first, marks=pytest.mark.slow)
            for first in (
                "import peft, fedtt",
                "import importlib.util, fedtt; importlib.util.find_spec('peft')",
                "import fedtt, fedtt.peft",
                "import fedtt.peft",
            )
        ),
    ],
)
@pytest.mark.slow
def test_import_fedtt_is_enough_to_load_an_adapter(first, tmp_path):
    base = tiny_lm()
    base.save_pretrained(tmp_path / "base")
    model = get_peft_model(base, TTAdapterConfig(rank=2, bottleneck=8, task_type="CAUSAL_LM"))
    model.save_pretrained(tmp_path / "adapter")
    done = run_python(f"{first}\n{LOAD}", str(tmp_path / "base"), str(tmp_path / "adapter"))
    assert done.stdout.strip() == "TTAdapterModel TTAdapterConfig", done.stderr


@pytest.mark.slow
def test_a_pickled_config_is_read_where_only_fedtt_is_imported(tmp_path):
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(TTAdapterConfig(rank=3)))
    code = (
        "import sys, pickle, pathlib, fedtt\n"
        "config = pickle.loads(pathlib.Path(sys.argv[1]).read_bytes())\n"
        "from peft import PeftType\n"
        "assert config.peft_type is PeftType.TT_ADAPTER\n"
        "print(config.rank)"
    )
    done = run_python(code, str(tmp_path / "config.pickle"))
    assert done.stdout.strip() == "3", done.stderr


def test_the_public_face_is_lazy_and_says_what_it_lacks():
    assert fedtt.__all__ == sorted(fedtt.__all__)
    assert dir(fedtt) == fedtt.__all__
    with pytest.raises(AttributeError, match="module 'fedtt' has no attribute 'TTAdapter'"):
        _ = fedtt.TTAdapter
