"""Silos whose optimizers go on from round to round: saved with the run, and resumed bit for bit."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from tests.experiment.runs import run

from fedtt.config import RunConfig
from fedtt.engine.build import build_federation
from fedtt.engine.build_checks import check_kept_here
from fedtt.engine.client_state import ClientStateFiles
from fedtt.errors import ConfigError, InterruptedRunError, RunError
from fedtt.params import TensorSpec

MakeConfig = Callable[..., RunConfig]
STEPS = {"steps": 2, "batch_size": 8, "learning_rate": 1e-2}
FEDTT = {"name": "fedtt+", "schedule": "cycle", "rank": 2, "bottleneck": 8}


def kept(make_config: MakeConfig, **changes: object) -> RunConfig:
    client = {**STEPS, "optimizer_state": "kept"}
    base = {"method": FEDTT, "evaluation": {"alone": False}, "client": client}
    return make_config(**{**base, **changes})


def files(path: Path) -> dict[str, bytes]:
    return {p.name: p.read_bytes() for p in [path / "state.safetensors", *path.glob("clients/*")]}


@pytest.fixture(scope="module")
def whole(make_config: MakeConfig, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("kept") / "whole"
    run(kept(make_config), path)
    return path


def test_a_resumed_run_ends_with_the_same_bits(
    make_config: MakeConfig, whole: Path, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        run(kept(make_config), path, stop_after=2 * 3 * 2 + 3)  # in the third round
    assert [p.name for p in (path / "clients").iterdir()] == ["2.state"]
    # As if the process had died between the clients' state and the server's.
    (path / "clients" / "3.state").write_bytes(b"of a round that is run again")
    run(kept(make_config), path)
    assert files(path) == files(whole)
    assert set(files(path)) == {"state.safetensors", "3.state"}


def test_it_matters(make_config: MakeConfig, whole: Path, tmp_path: Path) -> None:
    run(kept(make_config, client=STEPS), tmp_path / "run")
    assert not (tmp_path / "run" / "clients").exists()
    fresh = files(tmp_path / "run")["state.safetensors"]
    assert fresh != files(whole)["state.safetensors"]


def test_a_flipped_bit_and_a_missing_file_are_refused(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    path = tmp_path / "run"
    with pytest.raises(InterruptedRunError):
        run(kept(make_config), path, stop_after=9)
    file = path / "clients" / "1.state"
    content = bytearray(file.read_bytes())
    content[-100] ^= 4
    file.write_bytes(content)
    with pytest.raises(RunError, match="what the clients keep from round to round"):
        run(kept(make_config), path)
    file.unlink()
    with pytest.raises(RunError, match=r"1\.state"):
        run(kept(make_config), path)


def test_clients_alone_keep_theirs_apart(make_config: MakeConfig, tmp_path: Path) -> None:
    """Each from nothing: the federation's, and those of clients before it, are not theirs."""
    config = kept(make_config, evaluation={"alone": True})
    first = run(config, tmp_path / "run")["alone"]
    (tmp_path / "run" / "summary.json").unlink()
    (tmp_path / "run" / "baselines.json").unlink()
    assert run(config, tmp_path / "run")["alone"] == first


def test_what_a_client_never_kept_is_zero(tmp_path: Path) -> None:
    structure = {"step/a": TensorSpec(shape=(), dtype=torch.float32)}
    structure["exp_avg/a"] = TensorSpec(shape=(2, 3), dtype=torch.float32)
    states = ClientStateFiles(run=tmp_path, clients=["north", "south"], structure=structure)
    assert states.load(0) == {}
    moved = {"step/a": torch.tensor(7.0), "exp_avg/a": torch.arange(6.0).reshape(2, 3)}
    states.save(1, {"south": moved})
    loaded = states.load(1)
    assert all(torch.equal(loaded["south"][name], moved[name]) for name in structure)
    assert not any(tensor.any() for tensor in loaded["north"].values())
    states.save(2, {})
    states.forget_all_but(2)
    assert [path.name for path in (tmp_path / "clients").iterdir()] == ["2.state"]


def test_where_nothing_can_be_kept_it_is_refused(make_config: MakeConfig) -> None:
    refused = {
        r"seldom drawn.*\n.*\n  got: cohort.size 2 of 3": {"cohort": {"size": 2}},
        "start anew in every round": {"method": {**FEDTT, "subspace": {"size": 50}}},
    }
    for message, changes in refused.items():
        with pytest.raises(ConfigError, match=message):
            build_federation(kept(make_config, **changes))
    build_federation(kept(make_config, cohort={"size": 3}))
    with pytest.raises(ConfigError, match=r"client: .*needs adamw: sgd has no state"):
        kept(make_config, client={**STEPS, "optimizer": "sgd", "optimizer_state": "kept"})
    for elsewhere in ("sites", "2 processes"):
        with pytest.raises(ConfigError, match=f"process that saves the run.*\n.*\n.*{elsewhere}"):
            check_kept_here(kept(make_config), elsewhere=elsewhere)
    check_kept_here(make_config(), elsewhere="sites")
