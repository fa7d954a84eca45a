"""What was announced and has not arrived is asked for again soon."""

import threading

import pytest

pytest.importorskip("flwr")

from flwr.supercore.inflatable import inflatable_utils

from fedtt.errors import FedttError
from fedtt.sites.flower.pull_pace import FIRST_PAUSE, pull_soon

pull_objects = inflatable_utils.pull_objects


@pytest.fixture(autouse=True)
def _own_pace(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_objects, "__kwdefaults__", dict(pull_objects.__kwdefaults__))


def test_the_first_pause_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    pauses: list[float | None] = []
    pulling: list[int] = []  # the thread that does
    wait = threading.Event.wait

    def noted(event: threading.Event, timeout: float | None = None) -> bool:
        if threading.get_ident() in pulling:
            pauses.append(timeout)
        return wait(event, timeout)

    monkeypatch.setattr("threading.Event.wait", noted)
    monkeypatch.setattr("random.uniform", lambda _low, _high: 0.0)
    tries = iter(range(3))

    def pull(_object_id: str) -> bytes:
        pulling.append(threading.get_ident())
        if next(tries) < 2:
            raise inflatable_utils.ObjectUnavailableError("not yet")
        return b"here"

    pull_soon()
    assert pull_objects(["a"], pull) == {"a": b"here"}
    assert pauses == [FIRST_PAUSE, 2 * FIRST_PAUSE]


def test_a_flower_that_was_never_tested_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pull_objects, "__kwdefaults__", {})
    with pytest.raises(FedttError, match="not as it was tested"):
        pull_soon()
