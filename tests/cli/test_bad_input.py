"""Every bad input: exit code 2, a message that fits a screen and names the way out, no traceback,
nothing half-written."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.tiny import write_reviews

from fedtt.cli import main
from fedtt.config import RunConfig, dump_config, load_config
from fedtt.experiment import create_run

MakeConfig = Callable[..., RunConfig]


@pytest.fixture
def config_file(make_config: MakeConfig, tmp_path: Path) -> Path:
    path = tmp_path / "config.toml"
    path.write_text(dump_config(make_config(rounds=1)))
    return path


@pytest.fixture
def fails(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> Callable[..., str]:
    """Run the command line; its message, after checking all that holds for every failure."""

    def run(*arguments: object, leaves: tuple[str, ...] = ()) -> str:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr("sys.argv", ["fedtt", *map(str, arguments)])
        before = {path.name for path in tmp_path.iterdir()}
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert caught.value.code == 2, output
        assert "Traceback" not in output.err
        assert len(output.err.splitlines()) <= 24
        assert {path.name for path in tmp_path.iterdir()} - before == set(leaves)
        return output.err

    return run


def data_file(path: Path, rows: list[dict]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


BAD_KEYS = {
    "unknown key": (["rouns=3"], "rouns: unknown key; did you mean 'rounds'?"),
    "unknown key in a section": (["client.step=3"], "did you mean 'client.steps'?"),
    "key in the wrong section": (["learning_rate=1"], "did you mean 'client.learning_rate'?"),
    "unknown method": (
        ["method.name=fedt"],
        "method.name: got 'fedt'; no method is called 'fedt'. Did you mean 'fedtt'?",
    ),
    "out of range": (["client.batch_size=0"], "client.batch_size: got 0"),
    "not a number": (["client.learning_rate=fast"], "client.learning_rate: got 'fast'"),
    "missing key": (["rounds="], "rounds: missing"),
    "missing section": (["data.path="], 'give either source, such as "sst2", or path = "FILE"'),
    "both lengths": (["client.epochs=1"], "give steps or epochs, not both"),
    "alone without test": (
        ["evaluation.alone=true", "evaluation.test=false"],
        "alone is measured on the test split",
    ),
    "nothing to train on": (["data.test=0.9"], "leave nothing to train on"),
    "no value": (["rounds"], "expected: section.key=value"),
    "cohort too large": (["cohort.size=4"], "expected: 1 to 3 (the number of clients)"),
    "texts too long": (["model.max_length=65"], "at most 64"),
    "texts too long beside a prompt": (
        ["model.max_length=64", "method={name='prompt', num_tokens=20}"],
        "at most 44",
    ),
    "rank too high": (["method.rank=9"], "rank"),
    "modes of another size": (["method.in_modes=[8, 5]"], "40"),
    "unknown activation": (["method.activation=gelo"], "gelo"),
    "unknown target": (["method.target_modules=['nope']"], "nope"),
    "unknown target of a method of PEFT's": (
        ["method={name='lora', target_modules=['nope']}"],
        "method.target_modules",
    ),
    "unknown device": (["model.device=tpu9"], "model.device"),
    "unknown model": (["model.name=no-such/model"], "model.name = 'no-such/model'"),
    "a model's path where nothing is": (["model.name=./nix"], "no such directory"),
    "a model's file that is not there": (["model.name=nix.gguf"], "no such file"),
    "a folder of tasks that is not there": (
        ["data={source='sst2', directory='nix'}"],
        "the directory of the data is not there",
    ),
    "unknown text column": (["data.text_column=txt"], "text"),
    "a second text that is not there": (["data.pair_column=other"], "no column 'other'"),
    "a test file that is not there": (["data.test_path=gone.csv"], "gone.csv"),
    "more examples than there are": (["data.examples=135"], "at most 134"),
    "partition without its keys": (["partition.kind=iid"], "kind 'iid' needs clients"),
    "partition of an unknown kind": (["partition.kind=odd"], "partition.kind: got 'odd'"),
    "more clients than examples": (
        ["partition.kind=iid", "partition.clients=80"],
        "fewer clients or a lower min_examples",
    ),
    "proportions that cannot hold": (
        ["partition.kind=labels", "partition.proportions=[[0.9, 0.1], [0.8, 0.2]]"],
        "no client sizes give these label proportions",
    ),
    "proportions of other classes": (
        ["partition.kind=labels", "partition.proportions=[[0.2, 0.3, 0.5]]"],
        "one for each class",
    ),
    "unknown label column": (["data.label_column=stars"], "stars"),
}


@pytest.mark.parametrize("case", BAD_KEYS)
def test_a_bad_setting(fails: Callable[..., str], config_file: Path, case: str) -> None:
    overrides, message = BAD_KEYS[case]
    options = [part for override in overrides for part in ("--set", override)]
    error = fails("train", config_file, "--run", "run", *options)
    assert message in error


BAD_ROWS = {
    "one class": [{"text": f"text {i}", "label": "good"} for i in range(30)],
    "no rows": [],
    "labels that are lists": [{"text": f"text {i}", "label": [i % 2]} for i in range(30)],
    "labels that are fractions": [{"text": f"text {i}", "label": i % 2 + 0.5} for i in range(30)],
    "a null label": [{"text": f"text {i}", "label": None if i == 7 else 1} for i in range(30)],
    "too few for a split": [{"text": "a", "label": 0}, {"text": "b", "label": 1}],
}


@pytest.mark.parametrize("case", BAD_ROWS)
def test_bad_data(fails: Callable[..., str], config_file: Path, case: str) -> None:
    path = data_file(config_file.parent / "data.jsonl", BAD_ROWS[case])
    error = fails("train", config_file, "--run", "run", "--set", f"data.path={path}")
    assert "fix:" in error


def test_a_data_file_that_is_not_there(fails: Callable[..., str], config_file: Path) -> None:
    assert "gone.csv" in fails("train", config_file, "--set", "data.path=gone.csv")


def test_a_config_that_is_not_there_or_not_toml(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "cannot read the configuration" in fails("train", "gone.toml")
    (tmp_path / "bad.toml").write_text("rounds = = 3")
    assert "not valid TOML" in fails("train", "bad.toml")


def test_nothing_to_train(fails: Callable[..., str]) -> None:
    assert "nothing to train" in fails("train")


@pytest.mark.parametrize("place", ["/proc/fedtt-run", "config.toml/run"])
def test_a_run_directory_that_cannot_be_made(
    fails: Callable[..., str], config_file: Path, place: str
) -> None:
    error = fails("train", config_file, "--run", place)
    assert "cannot create the run directory" in error
    assert "--run DIR" in error


def test_a_run_directory_in_use(
    fails: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.txt").write_text("years of work")
    for options in ([], ["--overwrite"]):
        error = fails("train", config_file, "--run", "mine", *options)
        assert "the run directory is not empty" in error
    assert (tmp_path / "mine" / "thesis.txt").read_text() == "years of work"
    create_run(tmp_path / "old", load_config(config_file), overwrite=False)
    assert "--overwrite deletes it" in fails("train", config_file, "--run", "old")


def test_overwriting_the_configuration_that_is_given(
    fails: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    """CONFIG beside somebody's own files, and --run pointing there."""
    (tmp_path / "data.json").write_text("[1]")
    for place in (".", tmp_path):
        error = fails("train", config_file, "--run", place, "--overwrite")
        assert "the run directory holds the configuration" in error
    create_run(tmp_path / "run", load_config(config_file), overwrite=False)
    error = fails("train", "run/config.toml", "--run", "run", "--overwrite")
    assert "the run directory holds the configuration" in error
    assert (tmp_path / "data.json").read_text() == "[1]"
    assert load_config(config_file) == load_config(tmp_path / "run" / "config.toml")


def test_divergence(fails: Callable[..., str], config_file: Path) -> None:
    settings = ("client.optimizer=sgd", "client.learning_rate=1e30", "client.max_grad_norm=1e9")
    options = [part for setting in settings for part in ("--set", setting)]
    error = fails("train", config_file, "--run", "run", *options, leaves=("run",))
    assert "training diverged" in error
    assert "round 0, client north" in error
    assert "last saved state: run/state.safetensors" in error


def test_resume_with_another_config(
    fails: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    create_run(tmp_path / "run", load_config(config_file), overwrite=False)
    error = fails(
        "train", config_file, "--resume", "run", "--set", "method.rank=3", "--set", "seed=4"
    )
    assert "method.rank: 2 -> 3" in error
    assert "seed: 0 -> 4" in error
    assert "leave --run and --overwrite out" in fails(
        "train", config_file, "--resume", "run", "--overwrite"
    )


@pytest.mark.parametrize("verb", [["train", "--resume"], ["evaluate"], ["predict"]])
def test_a_run_that_is_not_there(fails: Callable[..., str], verb: list[str]) -> None:
    text = ["a text"] if verb == ["predict"] else []
    assert "no run here" in fails(*verb, "nowhere", *text)


def test_predicting_before_there_is_a_state(
    fails: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    create_run(tmp_path / "run", load_config(config_file), overwrite=False)
    (tmp_path / "run" / "data.json").write_text('{"label_names": ["a", "b"], "clients": {}}')
    assert "the saved server state cannot be used" in fails("predict", "run", "a text")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "no-such/model"], "cannot load the base model"),
        (["--model", "{tiny}", "--method", "fedt"], "Did you mean 'fedtt'? There are: fedtt, "),
        (
            ["--model", "{tiny}", "--method", "fedtt", "--set", "rnk=3"],
            "did you mean 'method.rank'",
        ),
        (["--model", "{tiny}", "--task", "poetry"], "classification, causal"),
    ],
)
def test_cost_of_the_impossible(
    fails: Callable[..., str], tiny_bert: Path, arguments: list[str], message: str
) -> None:
    filled = [argument.format(tiny=tiny_bert) for argument in arguments]
    assert message in fails("cost", *filled)


# What can be known of the arguments alone is said before torch, which takes seconds, is loaded.
WITHOUT_TORCH = {
    "evaluate nix": "no run here",
    "predict nix text": "no run here",
    "predict run text ": "a text is empty",
    "generate nix --prompt text": "no run here",
    "train --resume nix": "no run here",
    "train config.toml --run run": "there is a run already",
    "train config.toml --run run/config.toml": "the run directory is no directory",
    "cost --model ./nix": "cannot load the base model: no such directory",
    "train config.toml --set model.name=./nix": "cannot load the base model: no such directory",
}
RUNNER = """
import sys
sys.modules["torch"] = sys.modules["transformers"] = None
from fedtt.cli import main
for line in sys.stdin.read().splitlines():
    sys.argv = ["fedtt", *line.split(" ")]
    try:
        main()
    except SystemExit as end:
        print(end.code, file=sys.stderr)
"""


def test_what_can_be_known_at_once_is_said_without_torch(config_file: Path, tmp_path: Path) -> None:
    create_run(tmp_path / "run", load_config(config_file), overwrite=False)
    told = subprocess.run(
        [sys.executable, "-c", RUNNER],
        input="\n".join(WITHOUT_TORCH),
        capture_output=True,
        text=True,
        cwd=tmp_path,
        check=True,
    ).stderr
    assert [line for line in told.splitlines() if line.startswith("error: ")] == [
        f"error: {message}" for message in WITHOUT_TORCH.values()
    ]
    assert told.count("\n2\n") == len(WITHOUT_TORCH)
    assert told.count("fix: ") == len(WITHOUT_TORCH)


def test_more_rounds_are_a_new_run(
    fails: Callable[..., str], config_file: Path, tmp_path: Path
) -> None:
    create_run(tmp_path / "run", load_config(config_file), overwrite=False)
    for given in ([], [config_file]):
        error = fails("train", *given, "--resume", "run", "--set", "rounds=5")
        assert "fix:" in error
        assert "a new run, from its first round" in error


def test_unknown_split(fails: Callable[..., str], tmp_path: Path) -> None:
    assert "test, validation" in fails("evaluate", "run", "--split", "exam").replace(
        "train, validation, test", "test, validation"
    )


def test_preview_of_bad_data(fails: Callable[..., str], config_file: Path) -> None:
    write_reviews(config_file.parent / "few.jsonl", clients={"a": 2})
    error = fails("data", "preview", config_file, "--set", "data.path=few.jsonl")
    assert "'a'" in error


@pytest.mark.parametrize(
    "command",
    [
        ("train", "--engine", "flower"),
        ("serve", "--set", 'sites.names=["a", "b"]', "--address", "FREE"),
    ],
)
def test_sites_that_would_have_to_keep_an_optimizer(
    command: tuple[str, ...], fails: Callable[..., str], config_file: Path
) -> None:
    pytest.importorskip("flwr")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    name, *options = (address if word == "FREE" else word for word in command)
    message = fails(name, config_file, *options, "--set", "client.optimizer_state=kept")
    assert "optimizers are kept where all clients train in the process" in message
    assert "got: sites" in message
