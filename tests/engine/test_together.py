"""Clients that train in one step against the same clients one by one."""

import json
import random
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from _pytest.mark.structures import ParameterSet
from tests.tiny import BAD, FILLER, GOOD

from fedtt.config import RunConfig
from fedtt.engine import cohort_work as together
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.inprocess import local_clients
from fedtt.errors import DivergenceError
from fedtt.federated.cohort import Cohorts
from fedtt.federated.local import stacked_cohort as cohort_training
from fedtt.federated.round import ClientTask, run_round
from fedtt.federated.types import RoundReport, ServerState

MakeConfig = Callable[..., RunConfig]
Configured = Callable[..., RunConfig]
TT = {"rank": 2, "bottleneck": 8}
METHODS: dict[str, dict] = {
    "fedtt": {"name": "fedtt", **TT},
    "fedtt, biases, TT classifier": {
        "name": "fedtt",
        **TT,
        "bias": True,
        "tensorize_classifier": True,
    },
    "fedtt+ ends+cycle": {"name": "fedtt+", "schedule": "ends+cycle", **TT},
    "fedtt+ cycle": {"name": "fedtt+", "schedule": "cycle", **TT},
    "fedtt+ adaptive": {"name": "fedtt+", "schedule": "adaptive", **TT},
    "fedtt-round": {"name": "fedtt-round", **TT},
    "lora": {"name": "lora", "rank": 2},
    "ffa-lora": {"name": "ffa-lora", "rank": 2},
    "rolora": {"name": "rolora", "rank": 2},
    "fedex-lora": {"name": "fedex-lora", "rank": 2},
    "flexlora": {"name": "flexlora", "rank": 4, "ranks": [1, 4, 2]},
    "lora-xs": {"name": "lora-xs", "rank": 4},
    "metatt": {"name": "metatt", "rank": 3},
    "metatt cycle": {"name": "metatt", "rank": 3, "schedule": "cycle"},
    "metatt, blocks": {"name": "metatt", "rank": 3, "target_modules": ["query", "dense"]},
    "adapter": {"name": "adapter", "bottleneck": 8, "bias": True},
    "bitfit": {"name": "bitfit"},
    "head": {"name": "head"},
    "fedtt, norms and biases": {"name": "fedtt", "also_train": ["norms", "biases"], **TT},
    "lora, norms": {"name": "lora", "rank": 2, "also_train": ["norms"]},
    "fedtt in a subspace": {"name": "fedtt", **TT, "subspace": {"size": 70}},
    "lora in a subspace": {"name": "lora", "rank": 2, "subspace": {"size": 70, "redraw": 0}},
}
# What cannot be stacked, and goes one by one by itself.
ONE_BY_ONE: dict[str, dict] = {
    "ia3": {"name": "ia3"},
    "vera": {"name": "vera", "rank": 4},
    "prompt": {"name": "prompt", "num_tokens": 3},
    "p-tuning": {"name": "p-tuning", "num_tokens": 3},
    "full": {"name": "full"},
    "peft:lora with DoRA": {"name": "peft:lora", "options": {"r": 2, "use_dora": True}},
}
# The default tests run these; the others are slow together, and like one of these.
QUICK = {
    "fedtt",
    "fedtt, norms and biases",
    "fedtt+ cycle",
    "flexlora",
    "lora-xs",
    "metatt, blocks",
    "adapter",
    "bitfit",
}
QUICK |= {
    "fedtt in a subspace",
    "every step clipped",
    "learning rates by parameter, adamw",
    "partial batches",
    "epochs of unequal length",
    "vera",
}
CLIENT = {"steps": 3, "batch_size": 8, "learning_rate": 1e-2, "weight_decay": 0.3}


@pytest.fixture(scope="module")
def configured(make_config: MakeConfig, tiny_bert: Path) -> Configured:
    """As ``make_config``, the base model without dropout unless it is asked for."""

    def make(*, dropout: float = 0.0, **changes: object) -> RunConfig:
        model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dropout": dropout}
        return make_config(model=model, **{"client": CLIENT, **changes})

    return make


def each(cases: Iterable[str]) -> list[ParameterSet]:
    """The cases, all but the quick ones marked as slow."""
    return [pytest.param(c, marks=[] if c in QUICK else [pytest.mark.slow]) for c in cases]


@pytest.fixture
def cohorts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many clients trained together, for every time that some did."""
    seen: list[int] = []
    train = together.train_cohort

    def spy(model: object, clients: list, **options: object) -> list:
        seen.append(len(clients))
        return train(model, clients, **options)

    monkeypatch.setattr(together, "train_cohort", spy)
    return seen


def run(
    federation: Federation,
    config: RunConfig,
    *,
    max_tokens: int | None,
    rounds: int = 2,
) -> tuple[ServerState, list[RoundReport]]:
    state, reports = federation.initial, []
    call = local_clients(
        federation,
        state=state,
        seed=0,
        max_tokens=max_tokens,
    )
    for _ in range(rounds):
        state, report = run_round(
            state,
            method=federation.method,
            cohorts=Cohorts(
                population=federation.population,
                cohort_size=config.cohort.size,
                seed=0,
                dropout_rate=config.cohort.dropout,
            ),
            learning_rate=config.client.learning_rate,
            call_clients=call,
        )
        reports.append(report)
    return state, reports


def assert_equal(config: RunConfig, *, tolerance: float = 2e-3, **options: float) -> None:
    """Both ways: the same state, relative to how far it moved, and the same reports."""
    federation = build_federation(config)
    one_by_one, reports = run(federation, config, max_tokens=None, **options)
    batched, others = run(federation, config, max_tokens=10**6, **options)
    for name, tensor in one_by_one.params.items():
        moved = (tensor - federation.initial.params[name]).abs().max().clamp_min(1e-6)
        gap = (batched.params[name] - tensor).abs().max()
        assert gap <= tolerance * moved + 1e-6, name
    for one, other in zip(reports, others, strict=True):
        assert list(one.clients) == list(other.clients)
        assert one.dropped == other.dropped
        for client, report in one.clients.items():
            again = other.clients[client]
            assert again.loss == pytest.approx(report.loss, rel=1e-4)
            assert replace(again, loss=0.0) == replace(report, loss=0.0)


@pytest.mark.parametrize("method", each(METHODS))
def test_a_batched_cohort_is_its_clients_one_by_one(
    method: str, configured: Configured, cohorts: list[int]
) -> None:
    assert_equal(configured(method=METHODS[method]))
    assert cohorts == [3, 3]


@pytest.mark.parametrize("method", each(ONE_BY_ONE))
def test_what_cannot_be_stacked_trains_one_by_one_by_itself(
    method: str, configured: Configured, cohorts: list[int]
) -> None:
    assert_equal(configured(method=ONE_BY_ONE[method]), tolerance=0.0)
    assert cohorts == []


CLIENTS: dict[str, dict] = {
    "sgd": {"optimizer": "sgd", "learning_rate": 0.3},
    "no clipping": {"max_grad_norm": 0.0, "optimizer": "sgd", "learning_rate": 0.3},
    "every step clipped": {"max_grad_norm": 1e-2, "optimizer": "sgd", "learning_rate": 0.3},
    "proximal": {"proximal": 2.0, "optimizer": "sgd", "learning_rate": 0.3, "steps": 5},
    "learning rates by parameter": {
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "head_learning_rate": 0.3,
        "zero_start_factor": 4.0,
    },
    "learning rates by parameter, adamw": {"head_learning_rate": 3e-2, "zero_start_factor": 4.0},
    "partial batches": {"batch_size": 7, "steps": 12},
    "batches larger than a client": {"batch_size": 25, "steps": 4},
    "epochs of unequal length": {"steps": None, "epochs": 2, "batch_size": 7},
}


@pytest.mark.parametrize("client", each(CLIENTS))
def test_every_client_has_its_own_steps_clipping_and_pull(
    client: str, configured: Configured, cohorts: list[int]
) -> None:
    section = {k: v for k, v in {**CLIENT, **CLIENTS[client]}.items() if v is not None}
    assert_equal(configured(client=section))
    assert cohorts == [3, 3]


def test_logit_adjustment_is_each_clients_own(configured: Configured, cohorts: list[int]) -> None:
    assert_equal(configured(client={**CLIENT, "logit_adjustment": 1.5}))
    assert cohorts == [3, 3]


@pytest.mark.parametrize("method", each(["fedtt", "lora", "lora-xs", "metatt"]))
def test_dropout_draws_the_masks_of_clients_one_by_one(
    method: str, configured: Configured, cohorts: list[int]
) -> None:
    """Of the base model, its attention's included, and of the adapter."""
    section = {**METHODS[method], "dropout": 0.2}
    config = configured(method=section, dropout=0.3, client={**CLIENT, "batch_size": 7})
    assert_equal(config)
    assert cohorts == [3, 3]


@pytest.mark.parametrize("share", [1.0, 20.0], ids=["fast", "slow"])
@pytest.mark.parametrize("method", each(["fedtt", "lora", "metatt", "adapter", "bitfit"]))
def test_a_base_model_in_bfloat16_is_batched_too(
    method: str,
    share: float,
    configured: Configured,
    tiny_bert: Path,
    cohorts: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Where the processor multiplies such numbers, and where it does not."""
    monkeypatch.setattr("fedtt.wide_products.share_of_float32_time", lambda _: share)
    model = {"name": str(tiny_bert), "max_length": 16, "device": "cpu", "dropout": 0.0}
    config = configured(method=METHODS[method], client={**CLIENT, **CLIENTS["sgd"]})
    narrow = config.model_validate({**config.model_dump(), "model": {**model, "dtype": "bfloat16"}})
    federation = build_federation(narrow)
    one_by_one, reports = run(federation, narrow, max_tokens=None, rounds=1)
    batched, others = run(federation, narrow, max_tokens=10**6, rounds=1)
    assert cohorts == [3]
    assert others[0].loss == pytest.approx(reports[0].loss, rel=0.02)
    for name, tensor in batched.params.items():
        assert tensor.dtype == torch.float32
        start = federation.initial.params[name]
        moved = (one_by_one.params[name] - start).flatten()
        if moved.norm() > 1e-3:
            together = (tensor - start).flatten()
            assert torch.cosine_similarity(moved, together, dim=0) > 0.97, name


def test_a_batched_cohort_answers_in_the_codec(configured: Configured) -> None:
    """As far as rounding goes: a number that falls on the other side is a 127th of its block."""
    assert_equal(configured(wire={"codec": "int8", "deflate": False}), tolerance=0.05)


@pytest.mark.slow
def test_sampled_cohorts_with_clients_that_drop_out(
    configured: Configured, cohorts: list[int]
) -> None:
    assert_equal(configured(cohort={"size": 2, "dropout": 0.4}), rounds=6)
    assert cohorts  # in rounds in which both answered
    assert set(cohorts) == {2}


def test_a_budget_of_tokens_splits_the_cohort(configured: Configured, cohorts: list[int]) -> None:
    config = configured()
    federation = build_federation(config)
    whole, _ = run(federation, config, max_tokens=10**6, rounds=1)
    two, _ = run(federation, config, max_tokens=2 * 8 * 12, rounds=1)  # of 8 rows x 10 tokens
    assert cohorts == [3, 2]
    for name, tensor in whole.params.items():
        torch.testing.assert_close(two.params[name], tensor, rtol=1e-3, atol=1e-5)


def test_frozen_parameters_are_bit_identical_and_the_model_is_as_before(
    configured: Configured, cohorts: list[int]
) -> None:
    config = configured(method=METHODS["fedtt+ cycle"])
    federation = build_federation(config)
    names = set(federation.initial.params)
    frozen = {n: t.clone() for n, t in federation.model.named_parameters() if n not in names}
    forwards = [m.forward.__func__ for m in federation.model.modules()]
    random = torch.get_rng_state()
    state, _ = run(federation, config, max_tokens=10**6, rounds=1)
    assert cohorts == [3]
    assert torch.equal(torch.get_rng_state(), random)
    after = dict(federation.model.named_parameters())
    assert all(torch.equal(after[name], tensor) for name, tensor in frozen.items())
    assert [m.forward.__func__ for m in federation.model.modules()] == forwards
    moved = {n for n, t in state.params.items() if not torch.equal(t, federation.initial.params[n])}
    assert moved == federation.method.trained(federation.initial)


def test_a_client_that_diverges_is_named_with_its_step(
    configured: Configured, cohorts: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configured()
    federation = build_federation(config)
    losses = cohort_training.client_losses
    calls = []

    def second_is_bad(*args: object, **options: object) -> torch.Tensor:
        calls.append(None)
        bad = torch.tensor([1.0, float("nan") if len(calls) == 3 else 1.0, 1.0])
        return losses(*args, **options) * bad

    monkeypatch.setattr(cohort_training, "client_losses", second_is_bad)
    with pytest.raises(DivergenceError, match=r"round 0, client south, step 2\n  got: a loss of n"):
        run(federation, config, max_tokens=10**6)
    assert cohorts == [3]


def test_an_update_that_overflows_names_its_client(
    configured: Configured, cohorts: list[int]
) -> None:
    config = configured(client={**CLIENT, "learning_rate": 1e38, "steps": 1})
    with pytest.raises(DivergenceError, match="round 0, client north, after step 0"):
        run(build_federation(config), config, max_tokens=10**6)
    assert cohorts == [3]


def test_the_hook_sees_every_step_of_every_client(
    configured: Configured, cohorts: list[int]
) -> None:
    config = configured()
    federation = build_federation(config)
    seen: list[tuple[str, int, int]] = []

    def after_step(task: ClientTask, step: int, steps: int, loss: float) -> None:
        seen.append((task.client_id, step, steps))
        if len(seen) == 5:
            raise KeyboardInterrupt

    call = local_clients(
        federation,
        state=federation.initial,
        seed=0,
        max_tokens=10**6,
        after_step=after_step,
    )
    with pytest.raises(KeyboardInterrupt):
        run_round(
            federation.initial,
            method=federation.method,
            cohorts=Cohorts(population=federation.population, seed=0),
            learning_rate=0.1,
            call_clients=call,
        )
    names = federation.population
    assert seen == [*((name, 0, 3) for name in names), *((name, 1, 3) for name in names[:2])]
    assert cohorts == [3]


ON_THE_HEAD = {"r": 2, "target_modules": ["q_proj", "lm_head"], "lora_dropout": 0.5}


@pytest.mark.parametrize(
    ("method", "task"),
    [
        ({"name": "lora", "rank": 2}, {"kind": "generation"}),
        ({"name": "peft:lora", "options": ON_THE_HEAD}, {"kind": "generation"}),
        (
            {"name": "lora", "rank": 2},
            {"kind": "label-words", "prompt": "the {text} was", "words": ["so", "good"]},
        ),
    ],
    ids=["completions", "dropout on the output layer", "label words"],
)
def test_clients_whose_completions_differ_in_length(
    method: dict, task: dict, configured: Configured, tmp_path: Path, tiny_llama: Path
) -> None:
    """As many logits a text as the longest completion has, of the cohort or of the client alone."""
    stream, rows = random.Random(0), []
    words = [*GOOD, *BAD, *FILLER]
    for client, longest in {"north": 1, "south": 6, "west": 3}.items():
        for index in range(20):
            completion = " ".join(stream.choices(words, k=stream.randint(1, longest)))
            prompt = " ".join(stream.choices(words, k=stream.randint(2, 6)))
            label = "good" if index % 2 else "bad"
            rows.append(
                {
                    "prompt": prompt,
                    "completion": completion,
                    "text": prompt,
                    "label": label,
                    "client": client,
                }
            )
    path = tmp_path / "completions.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    model = {"name": str(tiny_llama), "max_length": 12, "device": "cpu"}
    table = configured(client={**CLIENT, "batch_size": 7}).model_dump() | {
        "model": model,
        "data": {"path": str(path), "test": 0.2, "validation": 0.2},
        "method": method,
        "task": task,
    }
    assert_equal(RunConfig.model_validate(table))
