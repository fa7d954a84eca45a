"""The server's steps in a codec: everybody has the model that they decode to, the server too."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.federated.own_copy import METHOD as PLAIN_METHOD
from tests.federated.own_copy import Site, run

from fedtt import params as p
from fedtt.config import WireConfig, parse_method
from fedtt.engine.build_method import build_downlink, build_method
from fedtt.errors import ConfigError, DivergenceError, FedttError
from fedtt.federated.aggregate.aggregation import Aggregate
from fedtt.federated.cohort import Cohorts
from fedtt.federated.method import Method
from fedtt.federated.next_state import next_state
from fedtt.federated.schedules import SCHEDULES
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import THETA, Subspace
from fedtt.federated.types import ServerState
from fedtt.federated.wire.codec import CODECS

PARAMS = {f"layer.core_{j}": torch.randn(2, 30, 2) for j in range(5)} | {"head": torch.randn(40)}
STATE = ServerState(next_round=0, params=PARAMS)
IN_SUBSPACE = replace(PLAIN_METHOD, subspace=Subspace(size=50, redraw=1, seed=4))


def with_downlink(method: Method, codec: str, **wire: object) -> Method:
    return replace(method, downlink=build_downlink(WireConfig(downlink=codec, **wire)))


@given(
    codec=st.sampled_from([*CODECS]),
    subspace=st.sampled_from([None, Subspace(size=50, redraw=1), Subspace(size=7)]),
    schedule=st.sampled_from([*SCHEDULES]),
    optimizer=st.sampled_from(["fedavg", "fedavgm"]),
    dropout=st.sampled_from([0.0, 0.5]),
    seed=st.integers(0, 2**16),
)
def test_a_site_knows_the_global_model_whenever_it_is_called(
    codec: str,
    subspace: Subspace | None,
    schedule: str,
    optimizer: str,
    dropout: float,
    seed: int,
) -> None:
    """Bit for bit, whatever the codec loses and whatever rounds the site missed."""
    if subspace is not None and (subspace.redraw or schedule != "all"):
        optimizer = "fedavg"
    method = replace(
        with_downlink(PLAIN_METHOD, codec),
        schedule=SCHEDULES[schedule],
        subspace=subspace,
        server=ServerOptimizer(name=optimizer, momentum=0.5),
    )
    sites = {f"site {i}": Site(PARAMS) for i in range(5)}
    sites["site 0"].known = {}
    cohorts = Cohorts(population=tuple(sites), cohort_size=2, seed=seed, dropout_rate=dropout)
    state = replace(STATE, strangers=frozenset({"site 0"}))
    run(method, sites, cohorts=cohorts, rounds=12, state=state)


@pytest.mark.parametrize("method", [PLAIN_METHOD, IN_SUBSPACE], ids=["all numbers", "a subspace"])
def test_the_downlink_is_as_small_as_the_codec_makes_it(method: Method) -> None:
    numbers = 50 if method is IN_SUBSPACE else 640
    most = {"plain": 4 * numbers, "bfloat16": 2 * numbers, "int8": numbers, "int4": numbers // 2}
    for codec, length in most.items():
        sites = {"a": Site(PARAMS)}
        cohorts = Cohorts(population=("a",), seed=0)
        run(with_downlink(method, codec, block=64), sites, cohorts=cohorts, rounds=3, state=STATE)
        scales = 0 if codec in ("plain", "bfloat16") else 2 * -(-numbers // 64)
        for sent in sites["a"].sent[1:]:
            assert length / 2 < sent < length + scales + 250, codec


def test_who_missed_rounds_gets_as_many_steps_as_are_smaller_than_the_parameters() -> None:
    method = with_downlink(PLAIN_METHOD, "int8", deflate=False)
    sites = {name: Site(PARAMS) for name in ("always", "later")}
    both = Cohorts(population=tuple(sites), seed=0)
    one = replace(both, only="always")
    state, _ = run(method, sites, cohorts=both, rounds=1, state=STATE)
    # 650 bytes a step and scales, of 2,560.
    for missed, steps in ((0, 1), (2, 3), (3, 0)):
        state, _ = run(method, sites, cohorts=one, rounds=missed, state=state)
        state, _ = run(method, sites, cohorts=both, rounds=1, state=state)
        assert sites["later"].stepped[-1] == steps, missed
    assert sum(len(step.body) for step in state.steps.values()) < 4 * 640


@pytest.mark.parametrize("codec", [name for name in CODECS if CODECS[name].lossy])
@pytest.mark.parametrize("method", [PLAIN_METHOD, IN_SUBSPACE], ids=["all numbers", "a subspace"])
def test_what_a_step_loses_by_chance_has_no_direction(method: Method, codec: str) -> None:
    """The mean over many chances is the step: within five standard errors, number by number.

    Where hardly any chance went the other way, within what ten of them would have changed.
    """
    method, chances = with_downlink(method, codec), 400
    names = {THETA: torch.zeros(50)} if method.subspace is not None else PARAMS
    delta = {name: torch.randn(tensor.shape) for name, tensor in names.items()}
    exact = next_state(
        STATE, replace(method, downlink=PLAIN_METHOD.downlink), Aggregate(delta=delta), heard=()
    )
    ends = [
        next_state(replace(STATE, start=str(chance)), method, Aggregate(delta=delta), heard=())
        for chance in range(chances)
    ]
    for name, wanted in exact.params.items():
        found = torch.stack([end.params[name] for end in ends]).double()
        error = (found.mean(0) - wanted).abs()
        spread = found.std(0)
        allowed = 5 * spread / chances**0.5 + 10 * spread.max() / chances
        assert bool((error <= allowed).all()), name
        assert bool((spread > 0).any()), name


def test_the_chance_of_a_step_is_of_the_run_and_the_round() -> None:
    method = with_downlink(IN_SUBSPACE, "int4")
    delta = {THETA: torch.randn(50)}

    def body(**changes: object) -> bytes:
        after = next_state(replace(STATE, **changes), method, Aggregate(delta=delta), heard=())
        (step,) = after.steps.values()
        return step.body

    assert body() == body()
    assert len({body(), body(start="other"), body(next_round=1)}) == 3


@pytest.mark.parametrize("optimizer", ["fedavg", "fedadam"])
def test_the_progress_that_a_schedule_looks_at_is_that_of_the_update(optimizer: str) -> None:
    """Not of what a codec made of it: a core that shares a block with the head moves by little."""
    delta = {name: 1e-4 * torch.randn(tensor.shape) for name, tensor in PARAMS.items()}
    delta["head"] *= 100
    method = replace(PLAIN_METHOD, server=ServerOptimizer(name=optimizer))
    found = {
        codec: next_state(
            STATE, with_downlink(method, codec), Aggregate(delta=delta), heard=()
        ).progress
        for codec in ("plain", "int8", "sign")
    }
    assert found["plain"] == found["int8"] == found["sign"]


def test_a_change_of_the_base_model_is_no_step() -> None:
    factors = {"head": (torch.ones(40, 1), torch.ones(1, 1))}
    with pytest.raises(FedttError, match="no step"):
        next_state(
            STATE,
            with_downlink(PLAIN_METHOD, "int8"),
            Aggregate(delta={}, factors=factors),
            heard=(),
        )


@pytest.mark.parametrize(("name", "ranks"), [("fedex-lora", None), ("flexlora", [2, 4])])
def test_methods_that_send_values_take_no_downlink_codec(
    name: str, ranks: list[int] | None
) -> None:
    section = parse_method(name, overrides=[] if ranks is None else [f"ranks={ranks}"])
    with pytest.raises(ConfigError, match=r"wire\.downlink"):
        build_method(section, task="classification", wire=WireConfig(downlink="bfloat16"))


@pytest.mark.parametrize("codec", ["int2", "sign"])
def test_few_levels_are_not_rounded_to_the_nearest(codec: str) -> None:
    with pytest.raises(ValueError, match="loses the same part of every step"):
        WireConfig(downlink=codec, rounding="nearest")
    assert build_downlink(WireConfig(downlink=codec)).name == f"{codec}, deflated"


def test_a_step_beyond_what_a_codec_can_write_ends_the_run() -> None:
    delta = {THETA: torch.full((50,), torch.finfo(torch.float32).max)}
    with pytest.raises(DivergenceError, match="diverged"):
        next_state(STATE, with_downlink(IN_SUBSPACE, "int8"), Aggregate(delta=delta), heard=())


def test_a_step_that_is_not_finite_ends_the_run_before_it_is_sent() -> None:
    delta = {THETA: torch.full((50,), float("inf"))}
    for codec in CODECS:
        with pytest.raises(DivergenceError, match="diverged"):
            next_state(STATE, with_downlink(IN_SUBSPACE, codec), Aggregate(delta=delta), heard=())


def test_a_round_that_nobody_answered_sends_no_step() -> None:
    after = next_state(STATE, with_downlink(IN_SUBSPACE, "int4"), Aggregate(delta={}), heard=())
    assert after.steps == {}
    assert p.structure_of(after.params) == p.structure_of(PARAMS)
