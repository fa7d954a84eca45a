"""A page that follows its run: what it tells, whom it answers, and what it never does."""

import json
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from tests.live.listening import Listener, ask
from tests.report.made_runs import made_run, record

from fedtt.atomic_write import replace_file
from fedtt.config import RunConfig
from fedtt.errors import FedttError, RunError
from fedtt.experiment.lock import locked
from fedtt.live import PageServer, serving
from fedtt.run_place import MARKER

one_round = partial(record, clients=["north"], validation=0.5)


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    for user in ("report.render", "live.page_server"):
        monkeypatch.setattr(f"fedtt.{user}.drawing_code", lambda: "window.vegaEmbed = null;")
    monkeypatch.setattr("fedtt.live.page_server.BUSY", 0.0)
    monkeypatch.setattr("fedtt.live.answering.LOOK_AFTER_CLIENT", 0.02)


@contextmanager
def served(path: Path) -> Iterator[PageServer]:
    with serving(path, interval=0.02) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def run(make_config: Callable[..., RunConfig], tmp_path: Path) -> Path:
    rounds = [one_round(0)]
    return made_run(tmp_path / "run", make_config(rounds=9), rounds=rounds, ended=False)


def lines(*rounds: dict) -> bytes:
    return "".join(json.dumps(one) + "\n" for one in rounds).encode()


def append(run: Path, content: bytes) -> None:
    with (run / "rounds.jsonl").open("ab") as file:
        file.write(content)


def test_it_follows_a_run_that_goes_on_stops_and_is_resumed(run: Path) -> None:
    with served(run) as server, Listener(server) as page:
        assert page.next()["rounds"] == 1
        with locked(run):
            page.until(state="running")
            whole = lines(one_round(1, validation=0.75))
            append(run, whole[:50])
            append(run, whole[50:])
            seen = page.until(rounds=2)
            shown = ask(server, "/content")[2]
            assert "2 of 9 rounds" in shown
            assert "Validation accuracy after round 2: 0.750" in shown
            assert f'data-version="{seen["version"]}"' in shown
            assert "<style" not in shown
            append(run, b'{"round": 2, "lo')  # killed in the middle of a line
        assert "resumes it" in page.until(state="stopped")["words"]
        # What resuming does: records that the state does not include are dropped.
        replace_file(run / "rounds.jsonl", lines(one_round(0)))
        page.until(rounds=1)
        append(run, lines(*(one_round(i, validation=0.25) for i in (1, 2))))
        page.until(rounds=3)
        assert "after round 3: 0.250" in ask(server, "/content")[2]
        # As long as before, with other numbers in it.
        replace_file(run / "rounds.jsonl", lines(*map(one_round, (0, 1, 2))))
        later = page.next()
        assert later["rounds"] == 3
        assert "after round 3: 0.500" in ask(server, "/content")[2]
    with served(run) as server, Listener(server) as page:  # a page that outlived its server
        assert page.next()["version"] > later["version"]


def test_a_run_may_still_have_to_come_and_may_go(run: Path, tmp_path: Path) -> None:
    later = tmp_path / "later"
    with served(later) as server, Listener(server) as page:
        assert page.next()["state"] == "waiting"
        assert f"There is no run at {later} yet" in ask(server, "/")[2]
        shutil.copytree(run, later)
        page.until(rounds=1, state="stopped")
        (later / "rounds.jsonl").unlink()
        page.until(rounds=0)
        assert "0 of 9 rounds are done" in ask(server, "/content")[2]
        shutil.rmtree(later)
        page.until(state="waiting")


def test_what_cannot_be_read_is_said_and_the_page_stays(run: Path) -> None:
    whole = (run / "rounds.jsonl").read_bytes()
    with served(run) as server, Listener(server) as page:
        page.until(rounds=1)
        append(run, b"no record\n")
        event = page.next()
        assert "What is shown may be old" in event["words"]
        assert "rounds.jsonl" in event["words"]
        assert event["rounds"] == 1
        assert "1 of 9 rounds" in ask(server, "/content")[2]
        replace_file(run / "rounds.jsonl", whole)
        assert "resumes it" in page.next()["words"]


def test_only_names_of_this_machine_are_answered(run: Path) -> None:
    with served(run) as server:
        port = server.port
        assert server.server_address[0] == "127.0.0.1"
        for host in (f"localhost:{port}", f"[::1]:{port}", f"LOCALHOST:{port}"):
            assert ask(server, "/", Host=host)[0] == 200
        for host in ("evil.example", f"evil.example:{port}", "127.0.0.1", f"localhost:{port + 1}"):
            status, _, said = ask(server, "/", Host=host)
            assert (status, "the Host header must be one of 127.0.0.1:" in said) == (403, True)
        assert ask(server, "/", Host=None)[0] == 403
        assert ask(server, "/", host=f"127.0.0.1:{port}")[0] == 403  # twice
        for path in ("/events", "/content"):
            assert ask(server, path, Sec_Fetch_Site="cross-site")[0] == 403
        assert ask(server, "/content", Sec_Fetch_Site="same-origin")[0] == 200
        picture = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "image"}
        assert ask(server, "/?n", **picture, Sec_Fetch_Mode="no-cors")[0] == 403
        link = {"Sec_Fetch_Site": "cross-site", "Sec_Fetch_Dest": "document"}
        assert ask(server, "/", **link, Sec_Fetch_Mode="navigate")[0] == 200


def test_it_reads_no_file_that_is_named_and_changes_none(run: Path) -> None:
    (run / "report.html").write_text("secret")
    os.utime(run / "report.html", (1, 1))
    paths = [
        "config.toml",
        "report.html",
        "../run/config.toml",
        "%2e%2e/run/config.toml",
        "/etc/hosts",
    ]
    with served(run) as server:
        for path in paths:
            status, _, said = ask(server, f"/{path}")
            assert (status, said) == (404, "there is nothing here but /\n")
        for method in ("POST", "PUT", "DELETE", "OPTIONS", "BREW"):
            status, headers, _ = ask(server, "/", method=method)
            assert (status, headers["Allow"]) == (405, "GET, HEAD")
        status, headers, content = ask(server, "/?config.toml", method="HEAD")
        assert (status, content) == (200, "")
        page = ask(server, "/")[2]
        assert int(headers["Content-Length"]) == len(page.encode())
        assert MARKER not in page
        for path in ("/", "/content", "/nothing"):
            headers = ask(server, path)[1]
            assert headers["X-Content-Type-Options"] == "nosniff"
            assert headers["Cache-Control"] == "no-store"
            assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        policy = page.split('Content-Security-Policy" content="')[1].split('"')[0]
        assert "connect-src &#39;self&#39;" in policy
        assert policy.count("sha256-") == page.count("<script>") == 3
    assert (run / "report.html").read_text() == "secret"


def test_streams_are_few_and_given_back(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fedtt.live.page_server.MOST_STREAMS", 2)
    with served(run) as server, Listener(server) as first, Listener(server) as second:
        assert first.next() == second.next()
        status, _, said = ask(server, "/events")
        assert (status, said) == (503, "too many pages listen already\n")
        assert ask(server, "/content")[0] == 200
        second.__exit__()
        ends = time.monotonic() + 10
        while time.monotonic() < ends:
            with Listener(server) as third:
                if third.status == 200:
                    return
            time.sleep(0.02)
        pytest.fail("the stream was not given back")


def test_what_is_no_run_is_refused(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    for path in (tmp_path / "mine", tmp_path / "mine" / "notes.txt", tmp_path):
        with pytest.raises(RunError, match="no run here"), serving(path):
            pass
    with (
        serving(run) as server,
        pytest.raises(FedttError, match="cannot serve there"),
        serving(run, port=server.port),
    ):
        pass
