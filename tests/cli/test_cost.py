"""``fedtt cost`` from its arguments to its output, in this process."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.peft.tiny_architectures import PEFT_WARNING, tiny_config

from fedtt.cli import main

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


@pytest.fixture
def cost(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., tuple[str, str]]:
    """Run ``fedtt cost``; what it writes to stdout and to stderr."""

    def run(*arguments: object, code: int = 0) -> tuple[str, str]:
        monkeypatch.setattr("sys.argv", ["fedtt", "cost", *map(str, arguments)])
        with pytest.raises(SystemExit) as caught:
            main()
        output = capsys.readouterr()
        assert (caught.value.code or 0) == code, output.err
        assert "Traceback" not in output.err
        return output.out, output.err

    return run


def test_methods_side_by_side_as_json(
    cost: Callable[..., tuple[str, str]], tiny_bert: Path
) -> None:
    options = ["--method", "fedtt+", "--method", "lora", "--clients", 10, "--rounds", 7]
    options += ["--set", "schedule=cycle"]
    step = ["--batch-size", 2, "--max-length", 8, "--dtype", "bfloat16"]
    shown, errors = cost("--model", tiny_bert, *options, *step, "--json")
    assert errors == ""
    document = json.loads(shown)
    settings = {key: document[key] for key in ("clients", "rounds", "batch_size", "max_length")}
    assert settings == {"clients": 10, "rounds": 7, "batch_size": 2, "max_length": 8}
    base = document["base_model"]
    assert base["dtype"] == "bfloat16"
    for row in document["methods"].values():
        server, memory = row["server"], row["memory"]
        assert server["first_broadcast_bytes"] == 10 * row["first_downlink_bytes"]
        assert server["round_uplink_bytes"] == pytest.approx(10 * row["uplink_bytes"])
        assert server["round_downlink_bytes"] == pytest.approx(10 * row["downlink_bytes"])
        parts = ("first_broadcast_bytes", "uplink_bytes", "downlink_bytes")
        assert server["total_bytes"] == sum(server[part] for part in parts)
        assert memory["trained_bytes"] == 16 * memory["trained_parameters"]
        # PEFT keeps the head, 32 x 2 + 2, that it trains a copy of.
        assert memory["frozen_bytes"] >= base["bytes"]
        assert memory["activation_problem"] is None
        kept = ("frozen_bytes", "trained_bytes", "activation_bytes")
        assert memory["total_bytes"] == sum(memory[key] for key in kept)
    plus, lora = (document["methods"][name] for name in ("fedtt+", "lora"))
    # Down has cores of 40, 100, 200 and 40, up the reverse: a round trains 80 or 300 of each of
    # the four pairs, and the head of 66. The one that trains the most counts.
    assert plus["memory"]["trained_parameters"] == 4 * 300 + 66
    assert plus["exchanged_parameters"]["total"] == 4 * 2 * 380 + 66
    assert lora["memory"]["frozen_bytes"] == base["bytes"]
    assert lora["memory"]["trained_parameters"] == lora["exchanged_parameters"]["total"]


def test_a_codec_makes_updates_shorter_and_nothing_else(
    cost: Callable[..., tuple[str, str]], tiny_bert: Path
) -> None:
    asked = ("--model", tiny_bert, "--method", "lora", "--json")
    plain, sign = (json.loads(cost(*asked, "--codec", codec)[0]) for codec in ("plain", "sign"))
    assert (plain["codec"], sign["codec"]) == ("plain", "sign")
    one, other = (document["methods"]["lora"] for document in (plain, sign))
    numbers = one["exchanged_parameters"]["total"]
    # A bit a number, a scale of two bytes for 128 of them, a byte for whether it is deflated; and
    # the header's "sign, deflated" is 9 longer than "plain".
    saved = 4 * numbers - (-(-numbers // 8) + 2 * -(-numbers // 128) + 1 + 9)
    assert one["uplink_bytes"] - other["uplink_bytes"] == saved
    assert one["downlink_bytes"] == other["downlink_bytes"]
    assert one["memory"] == other["memory"]
    shown, _ = cost("--model", tiny_bert, "--method", "lora", "--codec", "sign")
    assert "up in sign, at most" in shown
    _, errors = cost("--model", tiny_bert, "--codec", "sing", code=2)
    assert "Did you mean 'sign'?" in errors


def test_a_downlink_codec_makes_broadcasts_shorter_and_nothing_else(
    cost: Callable[..., tuple[str, str]], tiny_bert: Path
) -> None:
    asked = ("--model", tiny_bert, "--method", "lora", "--json")
    plain, int8 = (json.loads(cost(*asked, "--downlink", codec)[0]) for codec in ("plain", "int8"))
    assert (plain["downlink"], int8["downlink"]) == ("plain", "int8")
    one, other = (document["methods"]["lora"] for document in (plain, int8))
    numbers = one["exchanged_parameters"]["total"]
    assert one["uplink_bytes"] == other["uplink_bytes"]
    saved = one["downlink_bytes"] - other["downlink_bytes"]
    # A byte a number and a scale of two bytes for 128; the header says a little more.
    assert 0 <= 4 * numbers - (numbers + 2 * -(-numbers // 128)) - saved < 60
    shown, _ = cost("--model", tiny_bert, "--method", "lora", "--downlink", "int8")
    assert "down in int8, at most" in shown
    _, errors = cost("--model", tiny_bert, "--downlink", "int9", code=2)
    assert "--downlink" in errors
    _, errors = cost("--model", tiny_bert, "--method", "fedex-lora", "--downlink", "int8", code=2)
    assert "wire.downlink" in errors


def test_tables(cost: Callable[..., tuple[str, str]], tiny_bert: Path) -> None:
    shown, _ = cost("--model", tiny_bert, "--clients", 1000, "--rounds", 1, "--method", "fedtt")
    assert "the server, 1,000 clients in every round" in shown
    assert "1 round: up" in shown
    # The model has 64 positions, and 128 is the default.
    assert "in a local step of 16 x 64 tokens, AdamW" in shown
    assert "?" not in shown


def test_a_forward_pass_that_fails_is_told(
    cost: Callable[..., tuple[str, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*arguments: object, **options: object) -> int:
        raise RuntimeError("no kernel\nfor this")

    monkeypatch.setattr("fedtt.engine.memory.saved_bytes", broken)
    tiny_config("llama", architectures=["LlamaForCausalLM"]).save_pretrained(tmp_path)
    shown, _ = cost("--model", tmp_path, "--method", "lora", "--set", "rank=2")
    assert "lora: no activations, since the forward pass fails: RuntimeError: no kernel\n" in shown
    assert "?" in shown


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--dtype", "int4"], "unknown dtype\n  where: --dtype\n  got: int4"),
        (
            ["--max-length", "65"],
            "longer texts than the model has positions for\n"
            "  where: max_length, with method fedtt\n  got: 65\n  expected: at most 64",
        ),
        (
            ["--method", "prompt", "--max-length", "60", "--set", "num_tokens=10"],
            "got: 60\n  expected: at most 54",
        ),
        (["--clients", "0"], "clients"),
        (["--rounds", "-1"], "rounds"),
    ],
)
def test_the_impossible(
    cost: Callable[..., tuple[str, str]], tiny_bert: Path, arguments: list[str], message: str
) -> None:
    shown, errors = cost("--model", tiny_bert, *arguments, code=2)
    assert shown == ""
    assert message in errors
