"""What a round over a network costs beside the training: fedtt's sites, Flower's, NVFLARE's.

    python benchmarks/deployment.py [--rounds 5] [--json FILE]

One job on loopback several times, MiniLM with FedTT at three sites: ``fedtt train --engine
flower``, whose sites keep the model loaded; stock SuperNodes with a client app that loads it for
every message, as Flower's tutorials do; and, where ``pip install nvflare==2.9.0`` has been done,
NVFLARE's deployment for one machine, whose client script keeps it loaded. The round in which sites
load for the first time is left out of all. The training itself is taken off each round: the slowest
site's, and of plain Flower, which reports no other, the mean. One thread a site.
"""

import argparse
import json
import os
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path

from report import describe_machine, print_table, write_json

from fedtt.config import dump_config, load_config
from fedtt.experiment.round_tail import read_rounds
from fedtt.sites.address import Address
from fedtt.sites.flower.child_environment import flower_environment
from fedtt.sites.flower.child_processes import start, wait_for_port
from fedtt.sites.ports import any_port, bind_port

PRESET = Path(__file__).parents[1] / "presets" / "parity.toml"
PLAIN = Path(__file__).parent / "plain_flower"
NVFLARE = Path(__file__).parent / "plain_nvflare"
SITES = 3
PATIENCE = 1800.0


def write_job(path: Path, *, rounds: int) -> None:
    """The preset without validations, which plain Flower does not do either."""
    overrides = [f"rounds={rounds}", "evaluation.every=0", "client.steps=2"]
    path.write_text(dump_config(load_config(PRESET, overrides=overrides)), encoding="utf-8")


def fedtt_rounds(job: Path, folder: Path) -> list[tuple[float, float]]:
    """Seconds of every round but the first, and of its training."""
    run = folder / "run"
    command = [sys.executable, "-m", "fedtt", "train", str(job), "--engine", "flower"]
    command += ["--sites", str(SITES), "--run", str(run), "--quiet"]
    subprocess.run(
        command, check=True, timeout=PATIENCE, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    records = list(read_rounds(run))
    logs = [(run / f"site-{index}" / "join.log").read_text() for index in range(SITES)]
    found = []
    for record in records[1:]:
        line = re.compile(rf"^round {record['round'] + 1}: ([0-9.]+) s$", re.MULTILINE)
        training = max(float(match[1]) for log in logs if (match := line.search(log)))
        found.append((record["seconds"], training))
    return found


def plain_environment(job: Path, result: Path) -> dict[str, str]:
    """What the scripts of the others read; ``plain_round`` lies beside this file."""
    return {
        "PLAIN_JOB": str(job),
        "PLAIN_RESULT": str(result),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join(
            [str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
        ),
    }


def plain_rounds(job: Path, folder: Path) -> list[tuple[float, float]]:
    """The same of stock Flower."""
    result = folder / "plain.json"
    env = flower_environment(folder, **plain_environment(job, result))
    with _stock_flower(folder, env):
        app = Path(shutil.copytree(PLAIN, folder / "plain-flower"))
        flwr = str(Path(sys.executable).with_name("flwr"))
        subprocess.run([flwr, "run", str(app), "plain"], env=env, check=True, timeout=PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while not result.exists() and time.monotonic() < deadline:
            time.sleep(1)
        time.sleep(1)
        document = json.loads(result.read_text())
    ends = document["times"]  # the first is before the first round
    training = [metrics["seconds"] for metrics in document["training"]]
    rounds = zip(pairwise(ends), training, strict=True)
    return [(after - before, trained) for (before, after), trained in rounds][1:]


def nvflare_rounds(job: Path, folder: Path) -> list[tuple[float, float]]:
    """The same of NVFLARE: from one arrival of weights at the first site to the next."""
    more = plain_environment(job, folder)
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    with subprocess.Popen(
        [sys.executable, str(NVFLARE / "flare_job.py")],
        env={**os.environ, **more, "PATH": path, "NVFLARE_POC_WORKSPACE": str(folder / "poc")},
        stdout=subprocess.DEVNULL,
    ) as run:
        try:
            run.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            run.send_signal(signal.SIGINT)  # so that it stops its server and sites
            raise
    texts = [(folder / f"{site}.jsonl").read_text() for site in range(SITES)]
    sites = [[json.loads(line) for line in text.splitlines()] for text in texts]
    training = [max(site["seconds"] for site in of_round) for of_round in zip(*sites, strict=True)]
    rounds = zip(pairwise(line["received"] for line in sites[0]), training[:-1], strict=True)
    return [(after - before, trained) for (before, after), trained in rounds][1:]


@contextmanager
def _stock_flower(folder: Path, env: Mapping[str, str]) -> Iterator[None]:
    """A SuperLink and three SuperNodes by Flower's own commands."""
    bin_folder = Path(sys.executable).parent
    port = _free_port()
    (folder / "config.toml").write_text(
        f'[superlink.plain]\naddress = "127.0.0.1:{port}"\ninsecure = true\n'
    )
    stock = {**env, "FLWR_SUPEREXEC_TASK_POLL_INTERVAL": "1.0"}
    with ExitStack() as stack:
        arguments = ["--insecure", "--host", "127.0.0.1", "--port", str(port)]
        arguments += ["--database", str(folder / "plain.db")]
        arguments += ["--disable-runtime-dependency-installation"]
        link = start(
            "superlink",
            [str(bin_folder / "flower-superlink"), *arguments],
            log=folder / "superlink.log",
            env=stock,
        )
        stack.callback(link.stop)
        wait_for_port(link, Address(host="127.0.0.1", port=port), patience=120)
        for index in range(SITES):
            arguments = ["--insecure", "--superlink", f"127.0.0.1:{port}", "--host", "127.0.0.1"]
            arguments += ["--port", str(_free_port())]
            arguments += ["--node-config", f"partition-id={index} num-partitions={SITES}"]
            node = start(
                "supernode",
                [str(bin_folder / "flower-supernode"), *arguments],
                log=folder / f"supernode-{index}.log",
                env=stock,
            )
            stack.callback(node.stop)
        yield


def _free_port() -> int:
    """Flower's own commands bind by number only, so it may be taken until they do."""
    with bind_port(any_port()) as port:
        return port.address.port


def main() -> None:
    """Measure all and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="fedtt-") as name:
        folder = Path(name)
        write_job(folder / "job.toml", rounds=arguments.rounds)
        measured = {
            "fedtt, warm sites": fedtt_rounds(folder / "job.toml", folder),
            "plain Flower, a model load a message": plain_rounds(folder / "job.toml", folder),
        }
        if find_spec("nvflare") is None:
            print("left out: NVFLARE, which is not installed")
        else:
            measured["NVFLARE"] = nvflare_rounds(folder / "job.toml", folder)
    machine = describe_machine("flwr")
    print(machine)
    rows, beside_training = [], []
    for title, rounds in measured.items():
        whole = statistics.median(seconds for seconds, _ in rounds)
        training = statistics.median(training for _, training in rounds)
        beside = [seconds - training for seconds, training in rounds]
        beside_training.append(statistics.median(beside))
        cells = (f"{whole:.1f}", f"{training:.1f}", f"{statistics.median(beside):.1f}")
        rows.append((title, *cells, f"{max(beside):.1f}"))
    header = ("", "round, s", "training, s", "beside it, s", "at most, s")
    print_table(header, rows)
    ours = beside_training[0]
    write_json(
        arguments.json,
        ratios={
            f"{title} / fedtt, beside the training": beside / ours
            for title, beside in zip(measured, beside_training, strict=True)
        },
        figures=measured,
        machine=machine,
    )


if __name__ == "__main__":
    main()
