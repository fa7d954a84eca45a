"""The sites of a run as its server holds them, whatever carries the messages."""

import secrets
from collections.abc import Mapping, Sequence

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.engine.build import Federation
from fedtt.engine.build_method import build_secure_sum
from fedtt.federated.wire.update import update_length
from fedtt.sites.agreement import facts_of
from fedtt.sites.carrier import Carrier
from fedtt.sites.exchange import Hooks
from fedtt.sites.expected_metrics import measured_in
from fedtt.sites.roster import Invitation, Roster
from fedtt.sites.server_end import Sites, Terms

SLACK = 2**20  # bytes of a reply beside its updates


def open_sites(
    config: RunConfig,
    federation: Federation,
    carrier: Carrier,
    *,
    run_id: str,
    names: Mapping[int, str] | None,
    expected: Mapping[str, Sequence[str]],
    hooks: Hooks,
) -> Sites:
    """The sites of one run, which ``carrier`` reaches; see :class:`Sites`."""
    invitation = Invitation(
        epoch=secrets.token_hex(8),
        run_id=run_id,
        config=config.model_dump(mode="json"),
        facts=facts_of(config, federation),
        expected=expected,
    )
    roster = Roster(
        carrier, invitation, names=names, patience=config.sites.patience, tell=hooks.tell
    )
    terms = Terms(
        config=config.sites,
        expected=expected,
        population=federation.population,
        limit=reply_limit(federation, expected),
        fewest=max(federation.method.limited_aggregation.fewest, _threshold(config, federation)),
        measured=measured_in(config, federation),
    )
    return Sites(carrier, roster, terms=terms, hooks=hooks)


def _threshold(config: RunConfig, federation: Federation) -> int:
    """Of a secure sum; 0 where there is none."""
    secure = build_secure_sum(config)
    clients = config.cohort.size or len(federation.population)
    return 0 if secure is None else secure.threshold_of(clients)


def reply_limit(federation: Federation, expected: Mapping[str, Sequence[str]]) -> int:
    """The most bytes that a site has to say: an update of everything for each of its clients."""
    structure = p.structure_of(federation.initial.params)
    return (
        max(map(len, expected.values())) * update_length(structure, codec=federation.method.codec)
        + SLACK
    )
