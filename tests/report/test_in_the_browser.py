"""Reports in a real headless Chromium: what is drawn, and what the buttons do."""

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import WebDriverWait
from tests.report.headless import chromium, marks, needs_chromium, wait
from tests.report.made_runs import made_run, record

from fedtt.config import RunConfig
from fedtt.report import write_report

CLIENTS = ["north", "</script><img src=x onerror=alert(1)>"]
pytestmark = [pytest.mark.slow, needs_chromium]


@pytest.fixture
def browser(tmp_path: Path) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path / "profile") as driver:
        yield driver


def test_it_draws_and_its_buttons_work(
    browser: webdriver.Chrome, make_config: Callable[..., RunConfig], tmp_path: Path
) -> None:
    made = functools.partial(
        made_run,
        test=dict(zip(CLIENTS, (0.9, 0.7), strict=True)),
        alone=dict(zip(CLIENTS, (0.5, 0.72), strict=True)),
        sizes=dict.fromkeys(CLIENTS, 100),
    )
    rounds = [record(i, clients=CLIENTS, validation=0.5 + i / 10) for i in range(4)]
    one = made(tmp_path / "one", make_config(rounds=4), rounds=rounds)
    lora = make_config(rounds=3, method={"name": "lora"})
    other = made(tmp_path / "other", lora, rounds=rounds[:3])

    browser.get(write_report([one]).as_uri())
    wait(browser, "document.documentElement.dataset.ready")
    charts = browser.find_elements("css selector", ".chart")
    assert len(charts) >= 10
    assert all(chart.find_elements("css selector", "svg") for chart in charts)
    assert marks(browser, "runs-score-rounds") == 4
    assert marks(browser, "runs-0-clients-score") == 4  # two clients, alone and federated
    assert marks(browser, "runs-bytes-direction") == 8  # four rounds, up and down
    # On a phone nothing is wider than the screen.
    assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth")

    browser.get(write_report([one, other], tmp_path / "both.html").as_uri())
    wait(browser, "document.documentElement.dataset.ready")
    assert marks(browser, "runs-loss-bytes") == 7

    theme = browser.find_element("id", "theme")
    theme.send_keys(Keys.ENTER)  # by keyboard, too
    wait(
        browser, "[...document.querySelectorAll('.chart')].every((c) => c.dataset.drawn == 'dark')"
    )
    assert theme.get_attribute("aria-pressed") == "true"
    ground = "return getComputedStyle(document.body).backgroundColor"
    assert browser.execute_script(ground) == "rgb(20, 24, 28)"

    first, _ = browser.find_elements("css selector", ".series")
    browser.execute_script("arguments[0].scrollIntoView({behavior: 'instant'})", first)
    first.send_keys(Keys.SPACE)
    WebDriverWait(browser, 30).until(lambda driver: marks(driver, "runs-loss-bytes") == 3)
    assert first.get_attribute("aria-pressed") == "false"
    first.send_keys(Keys.SPACE)
    WebDriverWait(browser, 30).until(lambda driver: marks(driver, "runs-loss-bytes") == 7)

    assert browser.get_log("browser") == []  # no error, no warning, nothing refused
    requests = [entry["message"] for entry in browser.get_log("performance")]
    sent = [line for line in requests if '"Network.requestWillBeSent"' in line]
    assert sent
    assert not any('"url":"http' in line for line in sent)
