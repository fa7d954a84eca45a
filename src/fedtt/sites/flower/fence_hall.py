"""Who is connected to the fence, and which refusals are told."""

import asyncio
import json
import sys
import time

from fedtt.sites.flower.fence_rules import Account, Refusal

# Connections that have shown no key yet: in all, and of one network address; and of one key.
UNKNOWN, UNKNOWN_EACH, KNOWN_EACH = 128, 32, 32
LINES_A_MINUTE = 60


class Hall:
    """The connections that have shown a key, and those that have not.

    Where too many have not, the one that has waited longest goes: a site shows its key at once.
    """

    def __init__(self) -> None:
        self._unknown: dict[asyncio.Task[None], str] = {}
        self._known: dict[asyncio.Task[None], Account] = {}

    def has_room(self, host: str) -> bool:
        """For one more connection from the network address ``host``."""
        return sum(other == host for other in self._unknown.values()) < UNKNOWN_EACH

    def enter(self, task: asyncio.Task[None], host: str) -> None:
        """A new connection, which ``task`` serves."""
        if len(self._unknown) >= UNKNOWN:
            longest = next(iter(self._unknown))
            del self._unknown[longest]
            longest.cancel()
        self._unknown[task] = host
        task.add_done_callback(self._leave)

    def welcome(self, task: asyncio.Task[None] | None, account: Account) -> None:
        """It has shown a key. Raises :class:`Refusal` where that key is here too often."""
        if task is None:
            raise AssertionError("connections are served by tasks")
        here = sum(other is account for other in self._known.values())
        if task not in self._known and here >= KNOWN_EACH:
            raise Refusal(503, "too many connections of one site", site=account.site)
        self._unknown.pop(task, None)
        self._known[task] = account

    async def clear(self) -> None:
        """End every connection."""
        tasks = [*self._unknown, *self._known]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _leave(self, task: asyncio.Task[None]) -> None:
        self._unknown.pop(task, None)
        self._known.pop(task, None)


class Reporter:
    """Refusals as lines of JSON on stderr, so many a minute at most: who floods fills no disk."""

    def __init__(self) -> None:
        self._minute, self._lines = 0, 0

    def __call__(self, peer: str, refusal: Refusal, target: bytes) -> None:
        """Write it, or only count it."""
        minute = int(time.monotonic() // 60)
        if minute != self._minute:
            missing = self._lines - LINES_A_MINUTE
            if missing > 0:
                _write({"reason": f"{missing} more"})
            self._minute, self._lines = minute, 0
        self._lines += 1
        if self._lines <= LINES_A_MINUTE:
            path = target[:100].decode("ascii", errors="backslashreplace")
            _write({"peer": peer, "site": refusal.site, "path": path, "reason": refusal.reason})


def _write(refused: dict[str, str | None]) -> None:
    sys.stderr.write(json.dumps({"event": "refused", **refused}) + "\n")
    sys.stderr.flush()
