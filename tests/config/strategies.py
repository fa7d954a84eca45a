"""Tables of random configurations, made from the schema itself, so that no key is forgotten."""

from collections.abc import Callable, Mapping
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt
from hypothesis import strategies as st
from pydantic.fields import FieldInfo

from fedtt.attacks import ATTACKS
from fedtt.config import (
    AdaptiveClippingConfig,
    AttackConfig,
    ClientConfig,
    ClientPrivacyConfig,
    CohortConfig,
    DataConfig,
    EvaluationConfig,
    ExamplePrivacyConfig,
    ModelConfig,
    PartitionConfig,
    PrivacyConfig,
    RunConfig,
    ServerConfig,
    SitesConfig,
    TrackConfig,
    WireConfig,
    method_sections,
)
from fedtt.config.partition_section import PARTITION_KEYS
from fedtt.federated.aggregate import AGGREGATIONS
from fedtt.federated.privacy.samplings import SAMPLINGS
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.wire.codec import CODECS
from fedtt.methods import METHODS
from fedtt.methods.any_of_peft import PeftConfig
from fedtt.methods.lora_family import LoRAConfig
from fedtt.methods.metatt_method import MetaTTConfig
from fedtt.methods.tensor_train import FedTTConfig
from fedtt.section import Section

Table = dict[str, Any]
NAMES_OF: Mapping[type[Section], list[str]] = {
    section: [name for name in METHODS if METHODS[name].section is section]
    for section in method_sections()
}
SECTIONS: tuple[type[Section], ...] = (
    RunConfig,
    ModelConfig,
    DataConfig,
    PartitionConfig,
    CohortConfig,
    ClientConfig,
    ServerConfig,
    WireConfig,
    PrivacyConfig,
    ClientPrivacyConfig,
    AdaptiveClippingConfig,
    AttackConfig,
    EvaluationConfig,
    SitesConfig,
    TrackConfig,
    *method_sections(),
)
TEXTS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=8)
SPELLED: dict[tuple[type[Section], str], st.SearchStrategy[Any]] = {
    (SitesConfig, "names"): st.none() | st.just(["north", "site-2", "c_3"]),
    (DataConfig, "source"): st.sampled_from(["sentiment-silos", "sst2", "record"]),
    (ModelConfig, "name"): st.sampled_from(["minilm", "org/model"]),
    **{(section, "name"): st.sampled_from(names) for section, names in NAMES_OF.items()},
    (PeftConfig, "name"): st.sampled_from(["peft:loha", "peft:LOKR"]),
    (PeftConfig, "options"): st.dictionaries(
        TEXTS, TEXTS | st.integers(-(2**63) + 1, 2**63 - 1) | st.booleans()
    ),
    (RunConfig, "method"): st.deferred(
        lambda: st.one_of(*(section_table(m) for m in method_sections()))
    ),
    (PartitionConfig, "proportions"): st.none(),
    (MetaTTConfig, "schedule"): st.sampled_from(SCHEDULES.names),
    (FedTTConfig, "schedule"): st.none() | st.sampled_from(SCHEDULES.names),
    (ServerConfig, "aggregation"): st.sampled_from(AGGREGATIONS.names),
    (AttackConfig, "kind"): st.sampled_from(ATTACKS.names),
    (TrackConfig, "to"): st.just([]),
    (WireConfig, "codec"): st.sampled_from(CODECS.names),
    (WireConfig, "downlink"): st.sampled_from(CODECS.names),
    (ClientPrivacyConfig, "sampling"): st.sampled_from(SAMPLINGS.names),
    (ClientPrivacyConfig, "accountant"): st.sampled_from(["pld", "rdp"]),
    (RunConfig, "task"): st.none(),  # most of it has no other section's keys beside it
}


def _data(table: Table) -> Table:
    if table.get("validation", 0.1) + table.get("test", 0.15) >= 1:
        table = _without(table, "validation", "test")
    if "source" in table:
        strange = ("directory",) if table["source"] == "sentiment-silos" else ()
        own = ("path", "test_path", "pair_column", "label_names", "label_values")
        return _without(table, *own, *strange)
    if len(table.get("label_values", ())) != len(table.get("label_names", ())):
        table = _without(table, "label_values")
    return {"path": "/data/my.csv"} | _without(table, "directory")


def _client(table: Table) -> Table:
    table = _without(table, "optimizer_state") if table.get("optimizer") == "sgd" else table
    return _without(table, "epochs") if "steps" in table else table


def _partition(table: Table) -> Table:
    complete = {"clients": 3, "alpha": 0.5, "column": "shop", "proportions": [[0.25, 0.75]]} | table
    strange = frozenset().union(*PARTITION_KEYS.values()) - PARTITION_KEYS[table["kind"]]
    return _without(complete, *strange)


def _fedtt(table: Table) -> Table:
    return table if table["name"] == "fedtt+" else _without(table, "schedule")


def _metatt(table: Table) -> Table:
    return table if table["name"] == "metatt" else _without(table, "schedule")


def _lora(table: Table) -> Table:
    if table["name"] != "flexlora" or "ranks" not in table:
        return _without(table, "ranks")
    return table | {"rank": max(table["ranks"])}


def _evaluation(table: Table) -> Table:
    return _without(table, "test") if table.get("alone") else table


def _wire(table: Table) -> Table:
    row = CODECS[table.get("codec", "plain")]
    coarse = row.coarse or CODECS[table.get("downlink", "plain")].coarse
    table = _without(table, "rounding") if coarse else table
    return table if row.lossy else _without(table, "error_feedback")


def _client_privacy(table: Table) -> Table:
    noise = {} if "target_epsilon" in table else {"noise_multiplier": 1.0}
    return noise | (_without(table, "accountant") if table.get("sampling") == "fixed" else table)


def _example_privacy(table: Table) -> Table:
    noise = {} if "target_epsilon" in table else {"noise_multiplier": 1.0}
    return noise | table | ({"accountant": "rdp"} if "accountant" in table else {})


def _attack(table: Table) -> Table:
    if table["kind"] == "wrong-count":
        table = _without(table, "strength")
    own = ("trigger", "target", "trigger_share")
    return table if ATTACKS[table["kind"]].triggered else _without(table, *own)


def _run(table: Table) -> Table:
    if "example" in table.get("privacy", {}):
        table = table | {
            "client": _without(table.get("client", {}), "logit_adjustment"),
            "evaluation": _without(table.get("evaluation", {}), "alone"),
        }
    if "attack" in table:
        table = table | {
            "sites": _without(table.get("sites", {}), "names"),
            "evaluation": _without(table.get("evaluation", {}), "alone"),
        }
    privacy = table.get("privacy", {})
    if "client" in privacy:
        table = table | {"privacy": _without(privacy, "secure_aggregation")}
    elif "secure_aggregation" in privacy:
        table = table | {
            "wire": _without(table.get("wire", {}), "codec", "error_feedback"),
            "server": _without(table.get("server", {}), "update_norm", "weight_cap"),
        }
    if "client" in table.get("privacy", {}):
        table = table | {
            "server": _without(table.get("server", {}), "update_norm") | {"weighting": "uniform"},
            "wire": _without(table.get("wire", {}), "error_feedback"),
            "evaluation": _without(table.get("evaluation", {}), "alone"),
        }
    wire = table.get("wire", {})
    if wire.get("error_feedback") and "cohort" in table:
        table = table | {"cohort": _without(table["cohort"], "size")}
    if wire.get("error_feedback"):
        table = table | {"method": _without(table["method"], "subspace")}
    coarse = CODECS[wire.get("codec", "plain")].coarse
    if coarse and "server" in table:
        return table | {"server": _without(table["server"], "aggregation")}
    return table


def _without(table: Table, *keys: str) -> Table:
    return {key: value for key, value in table.items() if key not in keys}


# What a section's keys, drawn one by one, are made of so that they go together.
TOGETHER: dict[type[Section], Callable[[Table], Table]] = {
    DataConfig: _data,
    ClientConfig: _client,
    PartitionConfig: _partition,
    FedTTConfig: _fedtt,
    LoRAConfig: _lora,
    MetaTTConfig: _metatt,
    EvaluationConfig: _evaluation,
    WireConfig: _wire,
    ClientPrivacyConfig: _client_privacy,
    ExamplePrivacyConfig: _example_privacy,
    AttackConfig: _attack,
    RunConfig: _run,
}


def tables() -> st.SearchStrategy[Table]:
    """Tables that :func:`fedtt.config.parse_config` reads."""
    return section_table(RunConfig)


def section_table(section: type[Section]) -> st.SearchStrategy[Table]:
    """A table of that section; keys that have a default may be missing."""
    required, optional = {}, {}
    for name, field in section.model_fields.items():
        values = SPELLED.get((section, name))
        if values is None:
            values = _values(field.annotation, _bounds(field))
        (required if field.is_required() else optional)[name] = values
    together = TOGETHER.get(section, lambda table: table)
    found = st.fixed_dictionaries(required, optional=optional)
    return found.map(lambda table: together(_without_none(table)))


def _without_none(table: Table) -> Table:
    return {key: value for key, value in table.items() if value is not None}


def _bounds(holder: Any) -> dict[str, Any]:
    bounds: dict[str, Any] = {}
    for item in getattr(holder, "metadata", None) or getattr(holder, "__metadata__", ()):
        for part in getattr(item, "metadata", None) or [item]:
            match part:
                case Gt(gt=low):
                    bounds |= {"min_value": low, "exclude_min": True}
                case Ge(ge=low):
                    bounds["min_value"] = low
                case Lt(lt=high):
                    bounds |= {"max_value": high, "exclude_max": True}
                case Le(le=high):
                    bounds["max_value"] = high
                case FieldInfo():
                    bounds |= _bounds(part)
    return bounds


def _values(annotation: Any, bounds: dict[str, Any]) -> st.SearchStrategy[Any]:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Annotated:
        return _values(arguments[0], bounds | _bounds(annotation))
    if origin in {Union, UnionType}:
        return st.one_of(*(_values(part, bounds) for part in arguments))
    if origin is Literal:
        return st.sampled_from(arguments)
    if origin is tuple and Ellipsis not in arguments:
        return st.tuples(*(_values(part, bounds) for part in arguments)).map(list)
    if origin is tuple:
        return st.lists(_values(arguments[0], bounds), min_size=1, max_size=3)
    if origin is dict:
        keys, values = (_values(part, bounds) for part in arguments)
        return st.dictionaries(keys, values, min_size=1, max_size=3)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return section_table(annotation)
    if annotation is int:
        low = bounds.get("min_value")
        if low is not None and bounds.get("exclude_min"):
            low += 1
        high = bounds["max_value"] - bool(bounds.get("exclude_max"))
        return st.integers(low, high)
    simple: dict[Any, st.SearchStrategy[Any]] = {
        float: st.floats(**bounds, allow_nan=False, allow_infinity=False),
        bool: st.booleans(),
        str: TEXTS,
        Path: st.sampled_from(["/data/my.csv", "/data/\u00fc ber.jsonl"]),
        NoneType: st.none(),
    }
    return simple[annotation]
