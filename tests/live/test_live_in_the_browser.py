"""``fedtt watch`` as a person uses it: a browser beside a job that is killed and resumed."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO

import pytest
from selenium import webdriver
from selenium.webdriver.support.ui import WebDriverWait
from tests.report.headless import chromium, marks, needs_chromium, wait

from fedtt.config import RunConfig, dump_config

pytestmark = [pytest.mark.slow, needs_chromium]
FEDTT = [sys.executable, "-m", "fedtt"]
ROUNDS = 60
PATIENCE = 300  # seconds, where other work has the machine


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Starts ``fedtt``; what still runs at the end is killed."""
    processes: list[subprocess.Popen[str]] = []

    def start(*argv: object) -> subprocess.Popen[str]:
        process = subprocess.Popen([*FEDTT, *map(str, argv)], stdout=subprocess.PIPE, text=True)
        processes.append(process)
        return process

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "profile") as driver:
        yield driver


def document(stream: IO[str]) -> dict[str, str]:
    """The JSON document that a process prints before it goes on."""
    text = ""
    while not text.endswith("}\n"):
        line = stream.readline()
        assert line, text  # or it has ended
        text += line
    found: dict[str, str] = json.loads(text)
    return found


def count_lines(path: Path) -> int:
    return path.read_bytes().count(b"\n") if path.exists() else 0


def state_is(browser: webdriver.Chrome, state: str) -> None:
    wait(browser, f"document.getElementById('live').dataset.state === '{state}'", seconds=PATIENCE)


def test_the_numbers_move_while_it_trains(
    browser: webdriver.Chrome,
    started: Callable[..., subprocess.Popen[str]],
    make_config: Callable[..., RunConfig],
    tmp_path: Path,
) -> None:
    run, config = tmp_path / "run", tmp_path / "config.toml"
    config.write_text(
        dump_config(make_config(rounds=ROUNDS, client={"steps": 12}, evaluation={"alone": False}))
    )
    server = started("watch", run, "--json")
    assert server.stdout is not None
    address = document(server.stdout)["address"]
    browser.get(address)
    state_is(browser, "waiting")

    job = started("train", config, "--run", run, "--quiet")
    state_is(browser, "running")
    wait(
        browser, "document.querySelector(\"[data-chart='runs-loss-rounds'] svg\")", seconds=PATIENCE
    )
    # What the reader does stays: a table that is open, the theme, and the very picture.
    browser.execute_script(
        "document.getElementById('theme').click();"
        "const figure = document.querySelector(\"[data-key='figure-runs-loss-rounds']\");"
        "figure.querySelector('details').open = true; figure.scrollIntoView({behavior: 'instant'});"
    )
    WebDriverWait(browser, PATIENCE).until(
        lambda driver: (
            driver.execute_script(
                "return document.querySelector(\"[data-chart='runs-loss-rounds']\").dataset.drawn"
            )
            == "dark"
        )
    )
    browser.execute_script(
        "window.svg = document.querySelector(\"[data-chart='runs-loss-rounds'] svg\")"
    )
    points = marks(browser, "runs-loss-rounds")
    assert 1 <= points < ROUNDS
    WebDriverWait(browser, PATIENCE).until(
        lambda driver: marks(driver, "runs-loss-rounds") >= points + 3
    )
    kept = browser.execute_script(
        "const chart = document.querySelector(\"[data-chart='runs-loss-rounds']\");"
        "return [chart.parentElement.querySelector('details').open,"
        " document.documentElement.dataset.theme, chart.querySelector('svg') === window.svg,"
        " Math.abs(chart.parentElement.getBoundingClientRect().top) < 300]"
    )
    assert kept == [True, "dark", True, True]

    job.kill()
    job.wait()
    state_is(browser, "stopped")
    done = count_lines(run / "rounds.jsonl")
    assert 0 < done < ROUNDS
    subtitle = "document.querySelector('.subtitle').textContent"
    wait(browser, f"{subtitle}.endsWith('{done} of {ROUNDS} rounds')")
    browser.refresh()
    wait(browser, "document.documentElement.dataset.ready")
    assert marks(browser, "runs-loss-rounds") == done

    job = started("train", "--resume", run, "--quiet")
    state_is(browser, "finished")
    job.wait()
    wait(browser, f"{subtitle}.endsWith('{ROUNDS} of {ROUNDS} rounds')")
    wait(
        browser,
        "document.getElementById('answer').textContent.includes('The federated model\\'s test')",
    )
    WebDriverWait(browser, PATIENCE).until(
        lambda driver: marks(driver, "runs-loss-rounds") == ROUNDS
    )
    assert browser.get_log("browser") == []  # no error, no warning, nothing refused
    wanted = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    urls = [
        one["params"]["request"]["url"]
        for one in wanted
        if one["method"] == "Network.requestWillBeSent"
    ]
    assert {url for url in urls if url.startswith("http")} == {
        address,
        f"{address}content",
        f"{address}events",
    }

    server.send_signal(signal.SIGINT)
    assert server.wait(timeout=PATIENCE) == 130
    wait(browser, "document.getElementById('live').textContent.startsWith('Not live')")
    assert marks(browser, "runs-loss-rounds") == ROUNDS
