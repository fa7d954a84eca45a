"""What a configuration protects its sites from, and what it does not, before anybody joins.

docs/threat-model.md says it in full; here are the lines that hold for one run.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from fedtt.config import RunConfig
from fedtt.federated.aggregate import MEAN
from fedtt.federated.secure.sum_sizes import default_threshold

UNIFORM = "uniform"


@dataclass(frozen=True, kw_only=True)
class Protection:
    """One line: ``holds`` says on which side it stands."""

    holds: bool
    subject: str
    text: str


def protections_of(config: RunConfig, *, has_keys: bool, is_loopback: bool) -> list[Protection]:
    """What holds first, then what does not."""
    found = [
        Protection(holds=True, subject="texts, labels", text="stay at the sites: no message has a "
                   "place for them"),
        _between(has_keys=has_keys, is_loopback=is_loopback),
        *_of_the_model(config),
        *_of_a_dishonest_site(config),
        *_of_examples(config),
        _of_updates(config),
        Protection(holds=False, subject="said of a site", text="its name, number of examples, "
                   f"{_losses(config)}and metrics are told to the server"),
        Protection(holds=False, subject="the server", text="names the base model and the columns "
                   "that a site loads, unless the site is given --config"),
    ]  # fmt: skip
    return sorted(found, key=lambda line: not line.holds)


def _between(*, has_keys: bool, is_loopback: bool) -> Protection:
    subject = "messages"
    if has_keys:
        text = "TLS 1.3, and a key for every site: nobody between reads or changes one"
        return Protection(holds=True, subject=subject, text=text)
    who = "whoever can log in to this machine" if is_loopback else "whoever is between"
    text = f"plain text, no keys: {who} reads and changes them, and joins under any name"
    return Protection(holds=False, subject=subject, text=text)


def _of_updates(config: RunConfig) -> Protection:
    section, subject = config.privacy.secure_aggregation, "updates"
    if section is None:
        text = (
            "the server reads each site's own in the clear, and they tell about its data"
            f"{_but(config)} ([privacy.secure_aggregation])"
        )
        return Protection(holds=False, subject=subject, text=text)
    clients = config.cohort.size or len(config.sites.names or ())
    threshold = section.threshold or default_threshold(clients)
    text = (
        f"the server learns the sum of at least {threshold} of a round's {clients}, and reads "
        "none, unless it puts its own keys in the place of the sites' or as many sites obey it; "
        "one that tells sites differently who takes part can learn the sum of fewer, not one alone"
    )
    return Protection(holds=True, subject=subject, text=text)


def _of_the_model(config: RunConfig) -> Iterator[Protection]:
    private = config.privacy.client
    if private is None:
        whole = "whole " if config.privacy.example else ""
        text = f"nothing bounds what it tells about a {whole}site's data ([privacy])"
        yield Protection(holds=False, subject="the model", text=text)
        return
    spent = (
        f"at most epsilon {private.target_epsilon:g}"
        if private.target_epsilon is not None
        else "the epsilon said below"
    )
    yield Protection(
        holds=True,
        subject="the model",
        text=f"tells little about any whole site: {spent} at delta {private.delta:g}, from "
        "everybody but the server",
    )


def _of_examples(config: RunConfig) -> Iterator[Protection]:
    private = config.privacy.example
    if private is None:
        return
    spent = (
        f"at most epsilon {private.target_epsilon:g}"
        if private.target_epsilon is not None
        else "the epsilon that each site says"
    )
    yield Protection(
        holds=True,
        subject="an example",
        text=f"what is sent tells little about any one training example: {spent} at delta "
        f"{private.delta:g}, from everybody, the server too",
    )


def _but(config: RunConfig) -> str:
    return ", if little about any one example" if config.privacy.example else ""


def _losses(config: RunConfig) -> str:
    return "" if config.privacy.example else "losses "


def _of_a_dishonest_site(config: RunConfig) -> Iterator[Protection]:
    server, subject = config.server, "a dishonest site"
    if server.aggregation != MEAN:
        text = f"{server.aggregation}: a few sites that send anything at all do not carry it away"
        yield Protection(holds=True, subject=subject, text=text)
    elif config.privacy.secure_aggregation is not None:
        text = "adds to the sum what it likes, and nobody sees which site did, nor by how much"
        yield Protection(holds=False, subject=subject, text=text)
    elif config.privacy.client is not None:
        text = "moves the model no further than the clipping norm lets it"
        yield Protection(holds=True, subject=subject, text=text)
    elif server.weighting == UNIFORM and server.update_norm is not None:
        text = f"moves the mean no further than server.update_norm = {server.update_norm!r} lets it"
        yield Protection(holds=True, subject=subject, text=text)
    elif server.weighting == UNIFORM:
        text = (
            "moves the mean as far as its update is long (server.aggregation, server.update_norm)"
        )
        yield Protection(holds=False, subject=subject, text=text)
    else:
        text = (
            f"counts by the number of examples that it claims, up to {server.weight_cap:.0%} "
            'of all (server.weighting = "uniform")'
        )
        if server.update_norm is None:
            text += ", and by the length of its update (server.aggregation, server.update_norm)"
        yield Protection(holds=False, subject=subject, text=text)
