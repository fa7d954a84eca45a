"""A run's model as others load it: the same answers, and nothing of the run that is not theirs."""

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors import SafetensorError
from transformers import AutoModelForSequenceClassification, AutoTokenizer

import fedtt
from fedtt.config import RunConfig, SecureAggregationConfig
from fedtt.errors import ConfigError, ModelError, RunError
from fedtt.experiment import open_run
from fedtt.experiment.exports import EXPORTS, export_run
from fedtt.experiment.exports.export_merged import merge
from fedtt.experiment.exports.model_card import model_card
from fedtt.experiment.exports.same_outputs import check_same
from fedtt.experiment.opened_run import open_model
from fedtt.models import ALIASES

MakeConfig = Callable[..., RunConfig]
QUICK = {
    "rounds": 1,
    "client": {"steps": 2, "learning_rate": 1e-1},
    "evaluation": {"alone": False, "before": False},
}
TEXTS = ["the film was great", "a dull plot and a poor cast"]
TOKENIZER = {"tokenizer.json", "tokenizer_config.json"}
LORA = {"name": "lora", "rank": 2}


@pytest.fixture(scope="module")
def train(
    make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory
) -> Callable[..., fedtt.Run]:
    def run(method: dict, **changes: object) -> fedtt.Run:
        config = make_config(**{**QUICK, "method": method, **changes})
        return fedtt.train(config, run=tmp_path_factory.mktemp("runs") / "r", progress=False)

    return run


@pytest.fixture(scope="module")
def lora(train: Callable[..., fedtt.Run]) -> fedtt.Run:
    return train(LORA)


@pytest.fixture(scope="module")
def tensor_train(train: Callable[..., fedtt.Run]) -> fedtt.Run:
    return train({"name": "fedtt", "rank": 2, "bottleneck": 8})


def logits(model: torch.nn.Module, tokens: dict) -> torch.Tensor:
    with torch.no_grad():
        return model.eval()(**tokens).logits


def test_a_merged_model_is_one_that_transformers_loads(lora: fedtt.Run, tmp_path: Path) -> None:
    (checked,) = export_run(lora.path, tmp_path / "out", name="merged")
    assert "outputs at most" in checked
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"README.md", "SHA256SUMS", "config.json", "model.safetensors", *TOKENIZER}
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
    model, tokenizer = lora.model()
    tokens = tokenizer(TEXTS, return_tensors="pt", padding=True)
    own = AutoTokenizer.from_pretrained(tmp_path / "out")(TEXTS, return_tensors="pt", padding=True)
    assert torch.equal(own["input_ids"], tokens["input_ids"])
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(loaded, own), logits(model, tokens), rtol=1e-5, atol=1e-5)
    assert loaded.config.id2label == {0: "bad", 1: "good"}


def test_an_adapter_is_loaded_over_its_base_model(
    tensor_train: fedtt.Run, tiny_bert: Path, tmp_path: Path
) -> None:
    (checked,) = export_run(tensor_train.path, tmp_path / "out", name="peft")
    assert "outputs at most" in checked
    files = {path.name for path in (tmp_path / "out").iterdir()}
    adapter = {"adapter_config.json", "adapter_model.safetensors"}
    assert files == {"README.md", "SHA256SUMS", *adapter, *TOKENIZER}
    model, tokenizer = tensor_train.model()
    tokens = tokenizer(TEXTS, return_tensors="pt", padding=True)
    base = AutoModelForSequenceClassification.from_pretrained(tiny_bert)
    loaded = PeftModel.from_pretrained(base, tmp_path / "out")
    torch.testing.assert_close(logits(loaded, tokens), logits(model, tokens))
    table = json.loads((tmp_path / "out" / "adapter_config.json").read_text())
    assert table["base_model_name_or_path"] == tiny_bert.name
    check_names_no_place(tmp_path / "out", str(tiny_bert), str(tensor_train.path))


def check_names_no_place(out: Path, *places: str) -> None:
    for path in out.iterdir():
        content = path.read_bytes()
        assert not any(place.encode() in content for place in (*places, str(Path.home()))), path


def test_an_empty_directory_that_one_stands_in_is_filled(
    lora: fedtt.Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here, other = tmp_path / "here", tmp_path / ".here.new"
    here.mkdir()
    other.mkdir()
    (other / "precious").touch()
    monkeypatch.chdir(here)
    export_run(lora.path, Path(), name="merged")
    assert (Path.cwd() / "SHA256SUMS").exists()
    assert (other / "precious").exists()
    assert {path.name for path in tmp_path.iterdir()} == {"here", ".here.new"}


@pytest.mark.parametrize(
    ("name", "public"),
    [("google/bert_uncased", "google/bert_uncased"), ("minilm", ALIASES["minilm"].hub_id)],
)
def test_the_card_loads_the_base_model_by_its_own_name(
    lora: fedtt.Run, name: str, public: str
) -> None:
    config = lora.config
    model = config.model.model_copy(update={"name": name})
    config = config.model_copy(update={"model": model})
    card = model_card(open_run(lora.path), config, EXPORTS["peft"], checked=())
    assert f'.from_pretrained("{public}", num_labels=2)' in card
    assert f'base_model: "{public}"' in card
    assert f"# {public.replace('_', chr(92) + '_')}, tuned by" in card


def test_the_card_says_what_it_is_and_nothing_of_anybody(lora: fedtt.Run, tmp_path: Path) -> None:
    export_run(lora.path, tmp_path / "out", name="merged")
    card = (tmp_path / "out" / "README.md").read_text()
    summary = lora.summary
    assert summary is not None
    for said in (
        "library_name: transformers",
        "rounds: 1 of 1; seed 0",
        f"{summary['uplink_bytes']:,} bytes up",
        "clients: 3",
        f"| accuracy | {summary['test']['accuracy']['mean']:.4f} |",
        "no differential privacy",
        'from_pretrained("DIRECTORY")',
        "Classes: 0: bad, 1: good.",
    ):
        assert said in card
    assert not any(secret in card for secret in ("north", "south", "film", str(lora.path)))
    assert "base_model" not in card  # a directory of this machine


@pytest.mark.parametrize(
    ("known", "said", "unsaid"),
    [
        ("here", ("a simulation", "it hid no update from whoever ran"), ("sites", "learned")),
        ("at sites", ("3 sites", "that kept their data", "learned their sums"), (" examples",)),
        ("nowhere", ("is not known",), ("simulat", "kept", "learned", "clients:")),
    ],
)
def test_the_card_claims_of_a_simulation_no_more_than_it_is(
    lora: fedtt.Run, tmp_path: Path, known: str, said: tuple[str, ...], unsaid: tuple[str, ...]
) -> None:
    shutil.copytree(lora.path, tmp_path / "run")
    path = tmp_path / "run" / "data.json"
    data = json.loads(path.read_text())
    counted = {} if known == "nowhere" else data["clients"]
    if known == "at sites":
        counted = {name: dict.fromkeys(sizes, 0) for name, sizes in counted.items()}
    path.write_text(json.dumps({**data, "clients": counted}))
    config = lora.config
    privacy = config.privacy.model_copy(update={"secure_aggregation": SecureAggregationConfig()})
    sites = config.sites.model_copy(update={"names": ("north", "south")})  # fedtt train plays them
    config = config.model_copy(update={"privacy": privacy, "sites": sites})
    card = model_card(open_run(tmp_path / "run"), config, EXPORTS["peft"], checked=())
    assert all(text in card for text in said), card
    assert not any(text in card for text in unsaid), card


def test_the_card_of_a_private_run_has_its_epsilon_and_counts_nobody(
    train: Callable[..., fedtt.Run], tmp_path: Path
) -> None:
    noise = {"noise_multiplier": 2.0, "clipping_norm": 1.0, "delta": 1e-3}
    private = train(LORA, privacy={"client": noise}, server={"weighting": "uniform"})
    export_run(private.path, tmp_path / "out", name="peft")
    card = (tmp_path / "out" / "README.md").read_text()
    assert f"epsilon {private.rounds['epsilon'].iloc[-1]:.4g} at delta" in card
    assert "examples" not in card


def test_what_cannot_be_merged_says_why_and_leaves_nothing(
    tensor_train: fedtt.Run, lora: fedtt.Run, tmp_path: Path
) -> None:
    with pytest.raises(RunError, match=r"cannot be merged exactly: a bottleneck(.|\n)*peft"):
        export_run(tensor_train.path, tmp_path / "out", name="merged")
    with pytest.raises(ConfigError, match="Did you mean 'merged'"):
        export_run(lora.path, tmp_path / "out", name="merge")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="at that place already"):
        export_run(lora.path, tmp_path, name="peft")
    opened = open_model(lora.path)
    model = opened.config.model.model_copy(update={"quantization": "4bit"})
    codes = replace(opened, config=opened.config.model_copy(update={"model": model}))
    with pytest.raises(RunError, match="base weights are codes"):
        merge(codes)


FULL = "No space left on device (os error 28)"


@pytest.mark.parametrize(
    ("writer", "raised"),
    [
        # As safetensors and tokenizers raise it: neither is an OSError.
        ("fedtt.experiment.exports.export_peft.write_adapter", SafetensorError(FULL)),
        ("transformers.PreTrainedTokenizerBase.save_pretrained", Exception(FULL)),
    ],
)
def test_a_full_disk_is_named_and_leaves_nothing(
    lora: fedtt.Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    writer: str,
    raised: Exception,
) -> None:
    def write(*_args: object, **_options: object) -> None:
        raise raised

    monkeypatch.setattr(writer, write)
    expected = r"cannot write the export\n  where: .*out\n  got: No space left"
    with pytest.raises(RunError, match=expected):
        export_run(lora.path, tmp_path / "out", name="peft")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(os.name != "posix", reason="modes of POSIX")
def test_files_are_whose_the_umask_says(
    make_config: MakeConfig, lora: fedtt.Run, tmp_path: Path
) -> None:
    def modes(folder: Path) -> set[int]:
        return {path.stat().st_mode & 0o777 for path in folder.rglob("*") if path.is_file()}

    before = os.umask(0o027)
    try:
        for name in ("peft", "merged"):
            export_run(lora.path, tmp_path / name, name=name)
            assert modes(tmp_path / name) == {0o640}, name
        run = fedtt.train(make_config(**QUICK), run=tmp_path / "run", progress=False)
    finally:
        os.umask(before)
    assert modes(run.path / "adapter") == {0o640}
    assert (run.path / ".lock").stat().st_mode & 0o777 == 0o640


def test_another_answer_is_noticed() -> None:
    one = [torch.tensor([[1.0, -2.0]])]
    assert "where 0.0002" in check_same(one, one, what="it")
    for other in (1.0003, float("nan")):
        with pytest.raises(ModelError, match="does not compute"):
            check_same(one, [torch.tensor([[other, -2.0]])], what="it")
        with pytest.raises(ModelError, match="does not compute"):
            check_same([*one, *one], [*one, torch.tensor([[other, -2.0]])], what="it")
    with pytest.raises(ModelError, match="does not compute"):  # though each number is the same
        check_same([torch.ones(2, 3)], [torch.ones(1, 3)], what="it")


@pytest.mark.slow
@pytest.mark.parametrize(
    "method",
    [
        {"name": "metatt", "rank": 2},
        {"name": "lora", "rank": 2, "also_train": ["norms"]},
        {"name": "bitfit"},
        {"name": "full"},
    ],
    ids=lambda method: method["name"],
)
def test_whatever_is_linear_is_merged(
    train: Callable[..., fedtt.Run], tmp_path: Path, method: dict
) -> None:
    run = train(method)
    export_run(run.path, tmp_path / "out", name="merged")
    assert export_run(run.path, tmp_path / "adapter", name="peft")  # compared, with what is beside
    model, tokenizer = run.model()
    tokens = tokenizer(TEXTS, return_tensors="pt", padding=True)
    loaded = AutoModelForSequenceClassification.from_pretrained(tmp_path / "out")
    torch.testing.assert_close(logits(loaded, tokens), logits(model, tokens), rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_an_adapter_that_lacks_what_changed_in_the_base_is_refused(
    train: Callable[..., fedtt.Run], tmp_path: Path
) -> None:
    run = train({"name": "fedex-lora", "rank": 2})
    with pytest.raises(ModelError, match=r"does not compute(.|\n)*--format merged"):
        export_run(run.path, tmp_path / "out", name="peft")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_onnx_graph_answers_for_any_size(tensor_train: fedtt.Run, tmp_path: Path) -> None:
    pytest.importorskip("onnxscript", reason="pip install 'fedtt[onnx]'")
    onnxruntime = pytest.importorskip("onnxruntime", reason="pip install 'fedtt[onnx]'")
    (checked,) = export_run(tensor_train.path, tmp_path / "out", name="onnx")
    assert "onnxruntime runs it" in checked
    check_names_no_place(tmp_path / "out", str(tensor_train.path), "site-packages", ".py")
    model, tokenizer = tensor_train.model()
    tokenizer_of_export = AutoTokenizer.from_pretrained(tmp_path / "out")
    session = onnxruntime.InferenceSession(str(tmp_path / "out" / "model.onnx"))
    names = [node.name for node in session.get_inputs()]
    for texts in (TEXTS, TEXTS[:1], [" ".join(["film"] * 40)] * 5):
        tokens = tokenizer_of_export(texts, return_tensors="np", padding=True)
        (got,) = session.run(None, {name: tokens[name].astype("int64") for name in names})
        expected = logits(model, tokenizer(texts, return_tensors="pt", padding=True))
        torch.testing.assert_close(torch.from_numpy(got), expected, rtol=1e-4, atol=1e-4)
