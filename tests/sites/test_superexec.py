"""Client apps are forked from a process that has Flower imported, and end with its SuperExec."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from tests.sites.federation import all_gone, wait_until

pytest.importorskip("flwr")

from flwr.supernode import start_client_internal

from fedtt.errors import FedttError
from fedtt.sites.flower import launch, superexec

FORKING = (
    "from fedtt.sites.flower.superexec import fork_client_apps\n"
    "from flwr.supercore.superexec.executor import subprocess_executor as launcher\n"
    "fork_client_apps()\n"
)
START = "launcher.subprocess.Popen(['flwr-clientapp', '--help'])\n"
WAIT = "import multiprocessing\n[child.join() for child in multiprocessing.active_children()]\n"


def run(code: str, *, path: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout


def test_a_client_app_is_forked_and_no_command_of_flowers(tmp_path: Path) -> None:
    said = run(FORKING + START + START + WAIT, path=str(tmp_path))  # no command is there
    assert said.count("Run a Flower ClientApp") == 2


def test_it_is_forked_with_its_imports_done(tmp_path: Path) -> None:
    """Which are why it is forked at all; one that cannot be done is passed over in silence."""
    (tmp_path / "probe.py").write_text(
        "import sys\ndef run_client_process(argv):\n    print(*sys.modules)\n"
    )
    said = run(
        f"import sys; sys.path.append({str(tmp_path)!r})\n"
        "from fedtt.sites.flower import superexec\n"
        "from probe import run_client_process\n"
        "superexec.run_client_process = run_client_process\n" + FORKING + START + WAIT,
        path=str(tmp_path),
    )
    assert set(superexec.PRELOADED) <= set(said.split())


def test_where_nothing_can_be_forked_flower_starts_its_own(tmp_path: Path) -> None:
    """A unix socket's path has at most about a hundred characters."""
    deep = tmp_path / ("d" * 100)
    deep.mkdir()
    own = tmp_path / "flwr-clientapp"
    own.write_text(f"#!/bin/sh\necho $1 > {tmp_path / 'said'}\n")
    own.chmod(0o755)
    code = f"import tempfile; tempfile.tempdir = {str(deep)!r}\n" + FORKING + START
    run(code, path=f"{tmp_path}:{os.environ['PATH']}")
    wait_until((tmp_path / "said").exists, what="Flower's own command")


@pytest.mark.slow
def test_any_other_process_is_started_as_flower_would(tmp_path: Path) -> None:
    done = tmp_path / "done"
    code = (
        f"launcher.subprocess.Popen(['touch', {str(done)!r}], stdout=launcher.subprocess.DEVNULL)"
    )
    run(FORKING + code, path=os.environ["PATH"])
    wait_until(done.exists, what="the process")


@pytest.mark.slow
def test_nothing_is_left_of_a_superexec_that_was_killed(tmp_path: Path) -> None:
    """Neither the process that forks nor what it forked, though that waits for an hour."""
    found = tmp_path / "processes"
    waiting = (
        "import os, time\n"
        "from pathlib import Path\n"
        "from fedtt.sites.flower.process_ending import end_with_parent\n"
        "def run_client_process(argv):\n"
        "    end_with_parent()\n"
        f"    found = Path({str(found)!r})\n"
        f"    found.with_suffix('.new').write_text(f'{{os.getpid()}} {{os.getppid()}}')\n"
        "    found.with_suffix('.new').rename(found)\n"
        "    time.sleep(3600)\n"
    )
    (tmp_path / "waiting_client.py").write_text(waiting)
    code = (
        "from fedtt.sites.flower import superexec\n"
        "from waiting_client import run_client_process\n"
        "superexec.run_client_process = run_client_process\n"
        + FORKING
        + START
        + "import time; time.sleep(3600)\n"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    process = subprocess.Popen([sys.executable, "-c", code], env=env)
    try:
        wait_until(found.exists, what="a client app")
        processes = {int(text) for text in found.read_text().split()}
        assert len(processes | {process.pid}) == 3
    finally:
        process.send_signal(signal.SIGKILL)
        process.wait(60)
    all_gone(processes)


def test_a_supernode_starts_our_superexec_for_flowers(monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[list[str]] = []
    for module in (time, subprocess):  # to be put back afterwards
        monkeypatch.setattr(f"flwr.supernode.start_client_internal.{module.__name__}", module)
    launch.hurry()
    monkeypatch.setattr("subprocess.Popen", started.append)
    start_client_internal.subprocess.Popen(["flower-superexec", "--insecure"])
    assert started == [[sys.executable, "-m", superexec.__name__, "--insecure"]]
    with pytest.raises(FedttError, match="not as it was tested"):
        start_client_internal.subprocess.Popen(["another"])


def test_a_supernode_hurries_and_pulls_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    called: list[str] = []
    names = ("check_flower", "end_with_parent", "guard_log_messages", "hurry", "pull_soon")
    for name in (*names, "refuse_other_apps"):
        monkeypatch.setattr(launch, name, lambda name=name: called.append(name))
    monkeypatch.setattr(launch, "listen_on", lambda door: door.close())
    monkeypatch.setattr("flwr.supernode.cli.flower_supernode", lambda: called.append("run"))
    with socket.socket() as door:
        monkeypatch.setattr(sys, "argv", ["launch", "supernode", str(os.dup(door.fileno()))])
        launch.main()
    assert called == [*names, "refuse_other_apps", "run"]


@pytest.mark.parametrize("of", ["time", "subprocess"])
def test_a_supernode_that_was_never_tested_is_refused(
    of: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(f"flwr.supernode.start_client_internal.{of}")
    with pytest.raises(FedttError, match=f"(?s)not as it was tested.*module {of}"):
        launch.hurry()


def test_a_superexec_that_was_never_tested_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("flwr.supercore.superexec.executor.subprocess_executor.subprocess")
    with pytest.raises(FedttError, match="SuperExec is not as it was tested"):
        superexec.fork_client_apps()
