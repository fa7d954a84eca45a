"""The newest sight of a run, which one thread puts up and others wait for."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass

from fedtt.live.followed_run import Sight
from fedtt.report.render import Live, render, render_content


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A sight and its number; a later one's is higher."""

    sight: Sight
    version: int


class NewestSight:
    """Starts empty. Numbers go on from the time of day: a page that was served by an earlier
    process knows what is newer than what it shows.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: Numbered | None = None
        self._version = int(time.time() * 1000)
        self._drawing = threading.Lock()
        self._drawn: dict[str, tuple[int, str]] = {}

    def put(self, sight: Sight) -> None:
        """It is the newest from now on."""
        with self._changed:
            self._version += 1
            self._newest = Numbered(sight=sight, version=self._version)
            self._changed.notify_all()

    def wait(self, *, after: int = 0, seconds: float) -> Numbered | None:
        """The newest, once its number is higher than ``after``; None where the time is over."""
        with self._changed:
            self._changed.wait_for(lambda: self._version_now() > after, timeout=seconds)
            return self._newest if self._version_now() > after else None

    def page(self, newest: Numbered) -> str:
        """The whole page; made once for all that ask for it."""
        sight = newest.sight
        live = Live(state=sight.state, words=sight.words, version=newest.version)
        return self._once("page", newest, lambda: render(sight.page, live))

    def content(self, newest: Numbered) -> str:
        """What changes of its page; made once for all that ask for it."""
        return self._once(
            "content", newest, lambda: render_content(newest.sight.page, version=newest.version)
        )

    def _once(self, what: str, newest: Numbered, draw: Callable[[], str]) -> str:
        with self._drawing:
            version, text = self._drawn.get(what, (0, ""))
            if version != newest.version:
                text = draw()
                self._drawn[what] = (newest.version, text)
            return text

    def _version_now(self) -> int:
        return 0 if self._newest is None else self._newest.version
