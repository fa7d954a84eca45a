"""What an adapter needs of the base model it goes into."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

from peft import PeftConfig


@dataclass(frozen=True, kw_only=True)
class Traits:
    """An adapter's config declares them as ``traits``; nothing else in fedtt asks for its type.

    ``needs_base_weights``: it trains, or computes from, the values of the base weights, which codes
    of quantized ones are not. ``inside_layers``: what it trains is part of a base layer's own
    computation, as a bias is, rather than beside it. ``needs_cache``: it lies in the cache of keys
    and values. ``on_queries_and_values``: where it goes unless it is told.
    """

    needs_base_weights: bool = False
    inside_layers: bool = False
    needs_cache: bool = False
    on_queries_and_values: bool = False


# PEFT's own that are out of the ordinary, by the names of its types.
_OF_PEFT: Mapping[str, Traits] = {
    "ADALORA": Traits(on_queries_and_values=True),
    "IA3": Traits(inside_layers=True),
    "LORA": Traits(on_queries_and_values=True),
    "PREFIX_TUNING": Traits(needs_cache=True),
    "VERA": Traits(on_queries_and_values=True),
}


def traits_of(config: PeftConfig) -> Traits:
    """What ``config`` declares, or, for one of PEFT's own, what is known of it."""
    declared: Traits | None = getattr(config, "traits", None)
    if declared is not None:
        return declared
    known = _OF_PEFT.get(str(config.peft_type.value), Traits())
    trains_biases = getattr(config, "bias", "none") != "none"
    return replace(known, inside_layers=known.inside_layers or trains_biases)
