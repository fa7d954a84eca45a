"""Everything that a server needs of Flower, as one value: the run's sites."""

import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.errors import InterruptedRunError
from fedtt.federated.wire.update import update_length
from fedtt.sites.agreement import facts_of
from fedtt.sites.carrier import Carrier
from fedtt.sites.exchange import OnWait
from fedtt.sites.expected_metrics import measured_in
from fedtt.sites.flower.superlink import running_superlink
from fedtt.sites.ports import BoundPort
from fedtt.sites.roster import Invitation, Roster, Tell
from fedtt.sites.server_end import Sites

SLACK = 2**20  # bytes of a reply beside its updates


@contextmanager
def connected_sites(
    config: RunConfig,
    federation: Federation,
    *,
    port: BoundPort,
    keys: Path | None,
    logs: Path,
    expected: Mapping[str, Sequence[str]],
    tell: Tell,
    on_wait: OnWait,
    should_stop: Callable[[], bool],
) -> Iterator[Sites]:
    """The sites that come to ``port``, for the duration of the block; nothing is left running.

    ``expected`` maps the sites that may come to their clients. Raises :class:`FedttError` where
    Flower does not start, and :class:`InterruptedRunError` from any wait once asked to stop.
    """
    limit = reply_limit(federation, expected)
    with running_superlink(port, keys=keys, logs=logs, max_bytes=limit) as flower:

        def check() -> None:
            flower.check()
            if should_stop():
                raise InterruptedRunError(
                    "stopped on request",
                    fix=f"--resume {logs} goes on from the last finished round",
                )

        yield open_sites(
            config,
            federation,
            flower.relay,
            names=flower.names,
            expected=expected,
            tell=tell,
            check=check,
            on_wait=on_wait,
        )


def open_sites(
    config: RunConfig,
    federation: Federation,
    carrier: Carrier,
    *,
    names: Mapping[int, str] | None,
    expected: Mapping[str, Sequence[str]],
    tell: Tell,
    check: Callable[[], None],
    on_wait: OnWait,
) -> Sites:
    """The sites of one run, which ``carrier`` reaches; see :class:`Sites`."""
    invitation = Invitation(
        epoch=secrets.token_hex(8),
        config=config.model_dump(mode="json"),
        facts=facts_of(config, federation),
        expected=expected,
    )
    patience = config.sites.patience
    return Sites(
        carrier,
        Roster(carrier, invitation, names=names, patience=patience, tell=tell),
        config=config.sites,
        expected=expected,
        population=federation.population,
        limit=reply_limit(federation, expected),
        fewest=federation.method.aggregation.fewest,
        measured=measured_in(config, federation),
        tell=tell,
        check=check,
        on_wait=on_wait,
    )


def reply_limit(federation: Federation, expected: Mapping[str, Sequence[str]]) -> int:
    """The most bytes that a site has to say: an update of everything for each of its clients."""
    structure = p.structure_of(federation.initial.params)
    return (
        max(map(len, expected.values())) * update_length(structure, codec=federation.method.codec)
        + SLACK
    )
