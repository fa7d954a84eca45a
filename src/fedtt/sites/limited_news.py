"""News of sites, as many a minute as somebody can read: a site chooses how often it fails."""

import time
from collections.abc import Callable, Collection

from fedtt.sites.roster import Tell

A_MINUTE = 20  # lines of one site
STRANGERS = "others"  # whoever is no site of the run shares one site's lines


class LimitedNews:
    """Passes on what is told of each site, and how much was left out in the minute before."""

    def __init__(
        self, tell: Tell, *, sites: Collection[str], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._tell, self._sites, self._clock = tell, frozenset(sites), clock
        self._minute = 0
        self._lines: dict[str, int] = {}
        self._left_out: dict[str, int] = {}

    def __call__(self, site: str, what: str) -> None:
        """News of a site, or of a node that is none."""
        minute = int(self._clock() // 60)
        if minute != self._minute:
            self.say_left_out()
            self._minute = minute
        known = site if site in self._sites else STRANGERS
        lines = 1 + what.count("\n")
        if self._lines.get(known, 0) + lines > A_MINUTE:
            self._left_out[known] = self._left_out.get(known, 0) + 1
        else:
            self._lines[known] = self._lines.get(known, 0) + lines
            self._tell(site, what)

    def say_left_out(self) -> None:
        """How much was not passed on since the last time, for each site."""
        left_out, self._left_out, self._lines = self._left_out, {}, {}
        for site, count in left_out.items():
            self._tell(site, f"{count:,} more messages, left out here")
