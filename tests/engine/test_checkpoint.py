import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from fedtt import params as p
from fedtt.engine.checkpoint import (
    dump_json,
    is_unchecked,
    load_state,
    save_state,
    saved_config,
    write_atomically,
)
from fedtt.errors import RunError
from fedtt.federated.sent_step import SentStep
from fedtt.federated.types import ServerState
from fedtt.run_place import is_state

STATE = ServerState(
    next_round=7,
    params={"a/b": torch.tensor([1.5, -2.0]), "c": torch.ones(2, 3, dtype=torch.bfloat16)},
    optimizer={"m": torch.zeros(2)},
    changed_at={"a/b": 6},
    synced_at={"client 1": 5, "client/2": 6},
    progress={"a/b": 0.1 + 0.2},
    factors={"c": (torch.ones(2, 1), torch.full((1, 3), 0.5))},
    steps={
        5: SentStep(names=frozenset({"a/b"}), body=b"\0\x80@\xff"),
        6: SentStep(names=frozenset({"a/b", "c"}), body=b"\1"),
    },
)
EXPECTED = p.structure_of(STATE.params)


def test_a_saved_state_comes_back_bit_for_bit(tmp_path: Path) -> None:
    save_state(tmp_path / "state.safetensors", STATE)
    state = load_state(tmp_path / "state.safetensors", expected=EXPECTED)
    assert state.next_round == 7
    assert p.structure_of(state.params) == EXPECTED
    assert all(torch.equal(state.params[name], STATE.params[name]) for name in EXPECTED)
    assert torch.equal(state.optimizer["m"], torch.zeros(2))
    for book in ("changed_at", "synced_at", "progress"):
        assert getattr(state, book) == getattr(STATE, book)
    for got, wanted in zip(state.factors["c"], STATE.factors["c"], strict=True):
        assert torch.equal(got, wanted)
    assert state.steps == STATE.steps
    assert [path.name for path in tmp_path.iterdir()] == ["state.safetensors"]


def test_a_failed_write_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    (tmp_path / "target").mkdir()  # a directory cannot be replaced by a file
    (tmp_path / "target" / "kept").write_text("kept")
    with pytest.raises(RunError, match="cannot write a file of the run"):
        write_atomically(tmp_path / "target", b"new")
    assert [path.name for path in tmp_path.iterdir()] == ["target"]
    assert (tmp_path / "target" / "kept").read_text() == "kept"


def test_a_file_that_is_no_state_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    with pytest.raises(RunError, match="cannot be used"):
        load_state(path, expected=EXPECTED)
    path.write_bytes(b"\x80\x04 a pickle, say")
    with pytest.raises(RunError, match="cannot be used"):
        load_state(path, expected=EXPECTED)
    save_file({"params/a/b": torch.zeros(2)}, path)
    with pytest.raises(RunError, match="expected 'fedtt-state-3'"):
        load_state(path, expected=EXPECTED)
    save_state(path, STATE)
    other = {**EXPECTED, "c": p.TensorSpec(shape=(3, 2), dtype=torch.bfloat16)}
    with pytest.raises(RunError, match=r"where: c"):
        load_state(path, expected=other)


class Unreadable:
    """A state file whose header can be read, and none of its tensors."""

    def __init__(self, *arguments: object, **options: object) -> None:
        self._open = safe_open(*arguments, **options)

    def __enter__(self) -> "Unreadable":
        self._file = self._open.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._open.__exit__(*error)

    def __getattr__(self, name: str) -> object:
        return getattr(self._file, name)

    def get_tensor(self, key: str) -> torch.Tensor:
        raise RuntimeError(f"unable to mmap {key}: Cannot allocate memory")


def test_shapes_are_compared_before_a_tensor_is_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, STATE)
    monkeypatch.setattr("fedtt.engine.checkpoint.safe_open", Unreadable)
    with pytest.raises(RunError, match="Cannot allocate memory"):
        load_state(path, expected=EXPECTED)
    for expected, message in (
        ({**EXPECTED, "c": p.TensorSpec(shape=(4, 9), dtype=torch.bfloat16)}, r"\(2, 3\)"),
        ({"c": EXPECTED["c"]}, "no such parameter"),
        ({**EXPECTED, "d": EXPECTED["c"]}, "missing"),
    ):
        with pytest.raises(RunError, match=message):
            load_state(path, expected=expected)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_no_number_that_json_lacks_is_written(bad: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        dump_json({"loss": bad})


def test_the_same_state_is_always_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / f"{index}.safetensors" for index in range(8)]
    for path in files:
        save_state(path, STATE)
    assert len({path.read_bytes() for path in files}) == 1


def test_a_state_is_known_by_its_header(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    assert not is_state(path)
    path.write_bytes(b"{}")
    assert not is_state(path)
    save_file({"params/a/b": torch.zeros(2)}, path)
    assert not is_state(path)
    save_state(path, STATE)
    assert is_state(path)


def test_no_flipped_bit_and_no_cut_is_loaded(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, STATE, config={"seed": 3})
    whole = path.read_bytes()
    for bit in range(8 * len(whole)):
        changed = bytearray(whole)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        with pytest.raises(RunError, match="cannot be used"):
            load_state(path, expected=EXPECTED)
    for length in (len(whole) - 1, len(whole) // 2, 9, 8, 0):
        path.write_bytes(whole[:length])
        with pytest.raises(RunError, match="cannot be used"):
            load_state(path, expected=EXPECTED)
    path.write_bytes(whole)
    assert load_state(path, expected=EXPECTED).next_round == STATE.next_round


def test_a_damaged_tensor_is_named_as_damage(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, STATE)
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    with pytest.raises(RunError, match=r"where: .*state.safetensors\n.*checksum(.|\n)*damaged"):
        load_state(path, expected=EXPECTED)


def as_before_checksums(path: Path) -> None:
    """The state at ``path`` as the format before this one had it."""
    with safe_open(path, framework="pt") as file:
        header = json.loads(file.metadata()["fedtt"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    header = {k: v for k, v in header.items() if k not in {"checksum", "config"}}
    metadata = {"fedtt": json.dumps({**header, "format": "fedtt-state-2"}, sort_keys=True)}
    save_file(tensors, path, metadata=metadata)


def test_a_state_from_before_checksums_is_read_and_known_as_such(tmp_path: Path) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, STATE, config={"seed": 3})
    assert saved_config(path) == {"seed": 3}
    assert not is_unchecked(path)
    as_before_checksums(path)
    assert load_state(path, expected=EXPECTED).next_round == 7
    assert is_unchecked(path)
    assert saved_config(path) is None


def test_noise_and_clipping_norm_are_kept_to_the_last_bit(tmp_path: Path) -> None:
    book = {"noise_multiplier": 0.1 + 0.2, "clipping_norm": 1e-7 / 3}
    path = tmp_path / "state.safetensors"
    save_state(path, replace(STATE, privacy=book))
    assert load_state(path, expected=EXPECTED).privacy == book


@pytest.mark.parametrize("value", [0.0, -1.0, float("inf"), float("nan"), 1, "1"])
def test_an_impossible_noise_is_refused(tmp_path: Path, value: object) -> None:
    path = tmp_path / "state.safetensors"
    save_state(path, replace(STATE, privacy={"noise_multiplier": value}))
    with pytest.raises(RunError, match="server state cannot be used"):
        load_state(path, expected=EXPECTED)
