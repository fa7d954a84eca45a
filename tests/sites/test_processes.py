"""A federation of real processes: parity, and what happens when they are killed or cut off."""

import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import tomli_w
import torch
from safetensors.torch import load_file
from tests.experiment.runs import run
from tests.sites.federation import (
    Command,
    Wire,
    all_gone,
    commands,
    free_port,
    rounds_of,
    write_own_files,
)
from tests.tiny import save_tiny_bert, write_reviews

from fedtt.config import load_config
from fedtt.engine.build import build_federation
from fedtt.experiment import create_run, run_with_sites
from fedtt.sites.data_shares import Share
from fedtt.sites.exchange import Hooks
from fedtt.sites.flower.superlink import running_superlink
from fedtt.sites.opened_sites import open_sites
from fedtt.sites.ports import any_port, bind_port

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
SIZES = {"north": 30, "south": 60, "west": 44}
PRESET = Path(__file__).parents[2] / "presets" / "parity.toml"


def difference(one: Path, other: Path) -> float:
    first, second = (load_file(path / "state.safetensors") for path in (one, other))
    assert first.keys() == second.keys()
    return max(float((first[name] - second[name]).abs().max()) for name in first)


@pytest.fixture
def write_config(tiny_bert: Path, reviews: Path, tmp_path: Path) -> Callable[..., Path]:
    """A file for fedtt serve, of tiny sizes."""

    def write(**changes: object) -> Path:
        table = {
            "rounds": 3,
            "model": {
                "name": str(tiny_bert),
                "max_length": 16,
                "device": "cpu",
                "dtype": "float32",
            },
            "data": {
                "path": str(reviews),
                "label_names": ["bad", "good"],
                "test": 0.2,
                "validation": 0.2,
            },
            "method": {"name": "fedtt", "rank": 2, "bottleneck": 8},
            "cohort": {"batched": "off"},
            "client": {"steps": 3, "batch_size": 8, "learning_rate": 1e-2},
            "evaluation": {"alone": False},
            "sites": {"names": list(SIZES), "deadline": 120, "patience": 240},
            **changes,
        }
        path = tmp_path / "job.toml"
        path.write_text(tomli_w.dumps(table))
        return path

    return write


@pytest.fixture
def site_files(reviews: Path, tmp_path: Path) -> dict[str, Path]:
    return write_own_files(reviews, tmp_path)


def test_local_and_flower_end_with_the_same_parameters(
    tiny_bert: Path, reviews: Path, tmp_path: Path
) -> None:
    """The preset, on a tiny model, with one method after another on the same sites."""
    overrides = [f"model.name={tiny_bert}", "model.max_length=16", "data.source=", "data.examples="]
    overrides += [f"data.path={reviews}", "partition=", "client.learning_rate=1e-2"]
    names = [f"site-{index}" for index in range(3)]
    with commands() as started, bind_port(any_port()) as port:
        for index, name in enumerate(names):
            arguments = ["--server", str(port.address), "--name", name, "--share", f"{index}/3"]
            started.append(Command("join", *arguments, log=tmp_path / f"{name}.log"))
        with running_superlink(port, keys=None, logs=tmp_path, max_bytes=2**24) as flower:
            for method in ("fedtt", "fedtt+", "lora", "lora-in-a-subspace", "lora-int4"):
                own = [f"method.name={method.partition('-')[0]}"]
                if method.endswith("int4"):
                    own += ["wire.codec=int4", "wire.downlink=int8"]
                if method.endswith("subspace"):
                    own.append("method.subspace={size=60}")
                config = load_config(PRESET, overrides=[*overrides, *own])
                local, over = tmp_path / f"local-{method}", tmp_path / f"flower-{method}"
                run(config, local)
                federation = build_federation(config)
                expected = {
                    name: Share(index=index, count=3).of(federation.population)
                    for index, name in enumerate(names)
                }
                sites = open_sites(
                    config,
                    federation,
                    flower.relay,
                    run_id="0" * 32,
                    names=None,
                    expected=expected,
                    hooks=Hooks(tell=lambda *_: None, check=flower.check, on_wait=lambda *_: None),
                )
                directory = create_run(over, config, overwrite=False)
                run_with_sites(config, federation, directory, sites, notify=lambda _: None)
                assert difference(local, over) <= 1e-6
                assert len(rounds_of(over)) == 3
                for mine, theirs in zip(rounds_of(local), rounds_of(over), strict=True):
                    assert mine["uplink_bytes"] == theirs["uplink_bytes"] > 0
                    assert mine["downlink_bytes"] == theirs["downlink_bytes"] > 0
            sites.close()
            assert [command.ends() for command in started] == [0, 0, 0]
        families = set().union(*(command.family() for command in started))
    all_gone(families)


def test_the_network_is_cut_and_the_server_killed(
    write_config: Callable[..., Path],
    site_files: dict[str, Path],
    tmp_path: Path,
) -> None:
    """Sites come back by themselves; the run ends with the bits of one that nothing happened to."""
    sites = {"names": list(SIZES), "deadline": 120, "patience": 240, "min_replies": 3}
    job, port = write_config(rounds=4, sites=sites), free_port()
    wire = Wire(port)
    serve = ["serve", str(job), "--address", f"127.0.0.1:{port}", "--run", str(tmp_path / "run")]
    other = save_tiny_bert(tmp_path / "other-bert", seed=8)
    with commands() as started:
        server = Command(*serve, log=tmp_path / "serve.log")
        started.append(server)
        joins = {}
        for name, data in site_files.items():
            arguments = ["--server", f"127.0.0.1:{wire.port}", "--name", name, "--data", str(data)]
            if name == "west":  # first with other weights than the server's
                arguments += ["--set", f"model.name={other}"]
            joins[name] = Command("join", *arguments, log=tmp_path / f"{name}.log")
            started.append(joins[name])
        assert joins["west"].ends() == 2
        assert "the weights of the base model are not the same" in joins["west"].output
        assert "refused: server and site do not fit together" in server.output
        arguments = ["--server", f"127.0.0.1:{wire.port}", "--name", "west"]
        arguments += ["--data", str(site_files["west"])]
        joins["west"] = Command("join", *arguments, log=tmp_path / "west.log")
        started.append(joins["west"])

        server.wait_for("round   1/4")
        wire.cut()
        time.sleep(30)  # what is tested: a cut of thirty seconds
        wire.mend()
        server.wait_for("round   2/4")
        server.family()
        server.kill()
        all_gone(server.family())
        server = Command(
            "serve", "--resume", str(tmp_path / "run"), "--address", f"127.0.0.1:{port}",
            log=tmp_path / "resumed.log",
        )  # fmt: skip
        started.append(server)
        assert server.ends() == 0, server.output[-3000:]
        assert [command.ends() for command in joins.values()] == [0, 0, 0]
        families = set().union(*(command.family() for command in started))
    all_gone(families)
    assert "resumed at round" in server.output
    run(load_config(job), tmp_path / "local")
    assert difference(tmp_path / "local", tmp_path / "run") == 0.0


def test_a_site_is_killed_another_is_slow_and_one_talks_nonsense(
    write_config: Callable[..., Path], site_files: dict[str, Path], tmp_path: Path
) -> None:
    sites = {"names": [*SIZES, "rogue"], "deadline": 40, "patience": 600, "min_replies": 2}
    job, port = write_config(rounds=48, sites=sites), free_port()
    address, path = f"127.0.0.1:{port}", tmp_path / "run"
    with commands() as started:
        server = Command(
            "serve", str(job), "--address", address, "--run", str(path), log=tmp_path / "serve.log"
        )
        started.append(server)

        def join(name: str) -> Command:
            arguments = ["--server", address, "--name", name, "--data", str(site_files[name])]
            command = Command("join", *arguments, log=tmp_path / f"{name}.log")
            started.append(command)
            return command

        joins = {name: join(name) for name in SIZES}
        rogue = Path(__file__).with_name("rogue.py")
        data = write_reviews(tmp_path / "rogue.jsonl", clients={"rogue": 24})
        started.append(
            Command(
                address, str(data), log=tmp_path / "rogue.log", argv=[sys.executable, str(rogue)]
            )
        )
        server.wait_for("round   2/48")
        west = joins["west"].family()
        joins["west"].kill()  # in the middle of the third round
        all_gone(west)
        server.wait_for("round   3/48")
        joins["west"] = join("west")
        server.wait_for("site west: joined", times=2)
        most = memory_of(server)
        assert server.ends() == 0, server.output[-3000:]
        all_gone(server.family())  # although the rogue announced what it never sent
        assert most < 3 * 2**30
    records = rounds_of(path)
    everyone = set(SIZES)
    assert [set(record["clients"]) & everyone for record in records[:2]] == [everyone] * 2
    assert any(set(record["clients"]) == {"north", "south"} for record in records[2:])
    assert "west" in records[-1]["clients"]
    assert all("rogue" not in record["clients"] for record in records)
    assert "site rogue: its reply is refused: an update is not finite" in server.output
    assert (
        "site rogue: its reply is refused: a payload was made for other parameters" in server.output
    )
    assert "site rogue: did not answer within 40 s" in server.output
    assert (
        "site west: did not answer within 40 s" in server.output
        or "site west: Flower" in server.output
    )
    assert all(torch.isfinite(t).all() for t in load_file(path / "state.safetensors").values())


def test_ctrl_c_leaves_no_process(
    write_config: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where a proxy stands in the environment, which nothing on this machine goes through."""
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    job, path = write_config(rounds=50), tmp_path / "run"
    with commands() as started:
        arguments = [str(job), "--engine", "flower", "--sites", "2", "--run", str(path)]
        train = Command("train", *arguments, log=tmp_path / "train.log")
        started.append(train)
        train.wait_for("round   1/50")
        assert len(train.family()) >= 6  # two sites and their nodes, SuperLink, fence, apps
        train.interrupt()
        assert train.ends() == 130
        assert "stopped on request" in train.output
        assert "Traceback" not in train.output
        all_gone(train.family())
    assert len(rounds_of(path)) >= 1


def test_ctrl_c_stops_a_site_and_a_server(
    write_config: Callable[..., Path], site_files: dict[str, Path], tmp_path: Path
) -> None:
    job, address = write_config(), f"127.0.0.1:{free_port()}"
    arguments = ["--server", address, "--name", "north", "--data", str(site_files["north"])]
    with commands() as started:
        where = ["--address", address, "--run", str(tmp_path / "run")]
        server = Command("serve", str(job), *where, log=tmp_path / "serve.log")
        site = Command("join", *arguments, log=tmp_path / "north.log")
        started += [server, site]
        server.wait_for("site north: joined")
        for command in (site, server):
            command.family()
            command.interrupt()
            assert command.ends() == 130, command.output
            assert "stopped on request" in command.output
            assert "Traceback" not in command.output
            all_gone(command.family())
            if command is site:
                server.wait_for("site north: left")


def memory_of(command: Command) -> int:
    """Most bytes that the server, or any process of its, ever had."""
    peaks = []
    for pid in {command.process.pid, *command.family()}:
        status = Path(f"/proc/{pid}/status")
        if status.exists():
            (line,) = [x for x in status.read_text().splitlines() if x.startswith("VmHWM")] or [
                "0 0"
            ]
            peaks.append(int(line.split()[1]) * 1024)
    return max(peaks)
