"""Everything that a server needs of Flower, as one value: the run's sites."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.errors import InterruptedRunError
from fedtt.sites.exchange import Hooks, OnWait
from fedtt.sites.flower.superlink import running_superlink
from fedtt.sites.limited_news import LimitedNews
from fedtt.sites.opened_sites import open_sites, reply_limit
from fedtt.sites.ports import BoundPort
from fedtt.sites.roster import Tell
from fedtt.sites.server_end import Sites


@dataclass(frozen=True, kw_only=True)
class Entrance:
    """Where sites come in, by which keys, and where Flower's logs of it go."""

    port: BoundPort
    keys: Path | None
    logs: Path


@contextmanager
def connected_sites(
    config: RunConfig,
    federation: Federation,
    *,
    run_id: str,
    entrance: Entrance,
    expected: Mapping[str, Sequence[str]],
    tell: Tell,
    on_wait: OnWait,
    should_stop: Callable[[], bool],
) -> Iterator[Sites]:
    """The sites that come to the entrance, for the duration of the block; nothing is left running.

    ``expected`` maps the sites that may come to their clients. Raises :class:`FedttError` where
    Flower does not start, and :class:`InterruptedRunError` from any wait once asked to stop.
    """
    limit, logs = reply_limit(federation, expected), entrance.logs
    with running_superlink(entrance.port, keys=entrance.keys, logs=logs, max_bytes=limit) as flower:

        def check() -> None:
            flower.check()
            if should_stop():
                raise InterruptedRunError(
                    "stopped on request",
                    fix=f"--resume {logs} goes on from the last finished round",
                )

        news = LimitedNews(tell, sites=expected)
        try:
            yield open_sites(
                config,
                federation,
                flower.relay,
                run_id=run_id,
                names=flower.names,
                expected=expected,
                hooks=Hooks(tell=news, on_wait=on_wait, check=check),
            )
        finally:
            news.say_left_out()
