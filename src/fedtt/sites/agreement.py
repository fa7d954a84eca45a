"""What a server and a site must agree on before a round, and how they differ."""

from collections.abc import Mapping, Sequence

from fedtt import params as p
from fedtt._version import __version__
from fedtt.config import RunConfig, config_differences
from fedtt.engine.build import Federation
from fedtt.engine.fingerprint import digest_base, sample_frozen
from fedtt.sites.message_schema import Facts, TensorFacts
from fedtt.sites.peer_text import quote_peer

MOST_SHOWN = 3
CLOSE = 1e-2  # of the greatest value of a sample: rounding, in half precision too
# What is a machine's own business: where its files are, what its columns are called, what computes.
OWN_KEYS = frozenset(
    {
        "model.name",
        "model.revision",
        "model.device",
        "model.device_map",
        "model.attn_implementation",
        "model.gradient_checkpointing",
        "cohort.max_tokens",
        "data.source",
        "data.directory",
        "data.path",
        "data.test_path",
        "data.text_column",
        "data.pair_column",
        "data.label_column",
        "data.client_column",
        "data.label_names",
        "data.label_values",
    }
)


def facts_of(config: RunConfig, federation: Federation) -> Facts:
    """Version, method, classes, what is exchanged, and a digest of the base model; no texts."""
    structure = p.structure_of(federation.initial.params)
    return Facts(
        fedtt=__version__,
        method=config.method.name,
        label_names=list(federation.label_names),
        exchanged={
            name: TensorFacts(shape=list(spec.shape), dtype=str(spec.dtype))
            for name, spec in structure.items()
        },
        base_model=digest_base(federation.model, federation.initial.params),
        frozen=sample_frozen(federation.model, federation.initial.params.keys()),
    )


def fact_differences(server: Facts, site: Facts) -> list[str]:
    """A line a difference, the server's value first; empty where the two fit together."""
    found = [
        f"{key}: {_short(getattr(server, key))} at the server, {_short(getattr(site, key))} here"
        for key in ("fedtt", "method", "label_names")
        if getattr(server, key) != getattr(site, key)
    ]
    theirs, own = server.exchanged, site.exchanged
    names = [name for name in sorted({*theirs, *own}) if theirs.get(name) != own.get(name)]
    found += [
        f"{quote_peer(name, most=200)}: {_tensor(theirs.get(name))} at the server, "
        f"{_tensor(own.get(name))} here"
        for name in names[:MOST_SHOWN]
    ]
    if len(names) > MOST_SHOWN:
        found.append(f"and {len(names) - MOST_SHOWN} more parameters")
    if not names and server.base_model != site.base_model:
        found.append("base_model: the weights of the base model are not the same")
    elif not names:
        found += _frozen_differences(server.frozen, site.frozen)
    return found


def _frozen_differences(
    server: Mapping[str, Sequence[float]], site: Mapping[str, Sequence[float]]
) -> list[str]:
    other = [
        name
        for name in sorted({*server, *site})
        if not _are_close(server.get(name, ()), site.get(name, ()))
    ]
    if not other:
        return []
    return [
        f"{quote_peer(other[0], most=200)}, and {len(other) - 1} more that stay frozen: the "
        "adapter's own values are not the same; another PyTorch draws or computes others"
    ]


def _are_close(one: Sequence[float], two: Sequence[float]) -> bool:
    """As close as the same computation on two machines."""
    bound = CLOSE * max(map(abs, one), default=0.0)
    return len(one) == len(two) and all(abs(a - b) <= bound for a, b in zip(one, two, strict=True))


def _short(value: object) -> str:
    return quote_peer(repr(value), most=200)


def _tensor(facts: TensorFacts | None) -> str:
    return "unknown" if facts is None else _short([*facts.shape, facts.dtype])


def foreign_differences(server: RunConfig, site: RunConfig) -> list[str]:
    """As :func:`config_differences`, without what is a site's own business, or the server's."""
    return [
        line
        for line in config_differences(server, site)
        if line.partition(":")[0] not in OWN_KEYS and not line.startswith("sites.")
    ]


def sites_differences(agreed: RunConfig, server: RunConfig) -> list[str]:
    """What the server says of the sites otherwise than a configuration that speaks of them.

    How long it waits is its own business; who takes part, and how few do, is not.
    """
    found = []
    own, theirs = agreed.sites, server.sites
    if own.names is not None and set(own.names) != set(theirs.names or ()):
        found.append(f"sites.names: {_names(own.names)} -> {_names(theirs.names or ())}")
    if own.min_replies not in (None, theirs.min_replies):
        found.append(f"sites.min_replies: {own.min_replies} -> {theirs.min_replies}")
    return found


def _names(names: Sequence[str]) -> str:
    return quote_peer(", ".join(sorted(names)) or "none", most=200)
