"""The newest sight of a run, which one thread puts up and others wait for."""

import threading
import time
from dataclasses import dataclass

from fedtt.live.followed_run import Sight
from fedtt.report.render import Live, render, render_content


@dataclass(frozen=True, kw_only=True)
class Numbered:
    """A sight and its number; a later one's is higher."""

    sight: Sight
    version: int

    def page(self) -> str:
        """The whole page."""
        sight = self.sight
        live = Live(state=sight.state, words=sight.words, version=self.version)
        return render(sight.page, live)


class NewestSight:
    """Starts empty. Numbers go on from the time of day: a page that was served by an earlier
    process knows what is newer than what it shows.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._newest: Numbered | None = None
        self._version = int(time.time() * 1000)
        self._content: tuple[int, str] = (0, "")

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

    def content(self, newest: Numbered) -> str:
        """What changes of its page; made once for all that ask for it."""
        version, text = self._content
        if version != newest.version:
            text = render_content(newest.sight.page, version=newest.version)
            self._content = (newest.version, text)
        return text

    def _version_now(self) -> int:
        return 0 if self._newest is None else self._newest.version
