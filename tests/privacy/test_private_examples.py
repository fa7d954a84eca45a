"""A client's private training, against plain training where nothing hides and nothing is cut."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from fedtt import params as p
from fedtt.config import RunConfig
from fedtt.data import collate
from fedtt.engine.build import Federation, build_federation
from fedtt.engine.build_example_plan import digest_of_settings
from fedtt.engine.client_work import loss_function
from fedtt.engine.inprocess import local_clients
from fedtt.engine.private_work import split_by_length
from fedtt.federated.cohort import Cohorts
from fedtt.federated.local.alone import train_locally
from fedtt.federated.local.client import LocalClient
from fedtt.federated.local.example_gradients import gradients_one_by_one, stacked_gradients
from fedtt.federated.local.private_client import PrivateClient, train_privately
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.privacy.example_privacy import ExamplePrivacy
from fedtt.federated.privacy.example_step import ExampleMechanism
from fedtt.federated.privacy.keystream import secret_streams
from fedtt.federated.round import run_round
from fedtt.federated.types import ClientUpdate

MakeConfig = Callable[..., RunConfig]
STREAMS = secret_streams(bytes(range(32)))
NO_NOISE, NO_LIMIT = 1e-30, 30.0  # of gradients whose norms are below 10
STEPS, BATCH = 5, 3
SUBSPACE = {"name": "lora", "rank": 2, "subspace": {"size": 40}}


@pytest.fixture(scope="module")
def federation(make_config: MakeConfig) -> Federation:
    client = {"steps": 2, "batch_size": 8, "learning_rate": 0.1}
    model = build_federation(make_config(client=client))
    for module in model.model.modules():  # masks differ where examples are split otherwise
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0
    return model


def mechanism(federation: Federation, **changes: object) -> ExampleMechanism:
    table = {
        "clipping_norm": NO_LIMIT,
        "noise_multiplier": NO_NOISE,
        "examples": len(federation.splits["train"]["south"]),
        "batch_size": BATCH,
        "streams": STREAMS,
        **changes,
    }
    return ExampleMechanism(**table)


def train(
    federation: Federation,
    *,
    own: ExampleMechanism,
    training: LocalTraining,
    most: int = 100,
    stacked: bool = True,
) -> ClientUpdate:
    data = federation.splits["train"]["south"]
    loss = federation.loss(data)

    def parts(indices: np.ndarray):
        for part in split_by_length(data.lengths, indices, max_tokens=10_000, most=most):
            yield collate(data, part, pad_token_id=0)

    names = federation.method.trained(federation.initial)
    subspace = federation.method.subspace
    start = p.select(federation.initial.params, names)
    return train_privately(
        federation.model,
        PrivateClient(
            start=federation.initial.params,
            mechanism=own,
            gradients=stacked_gradients(loss)
            if stacked
            else gradients_one_by_one(loss_function(loss)),
            parts=parts,
            where="south",
        ),
        trained=names,
        steps=STEPS,
        learning_rate=0.1,
        training=training,
        projection=subspace and subspace.projection(p.structure_of(start), 0),
    )


def train_plainly(
    federation: Federation, *, own: ExampleMechanism, training: LocalTraining
) -> ClientUpdate:
    """The same Poisson batches; their loss is the sum over what a batch has on average."""
    data = federation.splits["train"]["south"]
    loss = loss_function(federation.loss(data))
    names = federation.method.trained(federation.initial)
    batches = (
        collate(data, own.batch(step), pad_token_id=0)
        for step in range(STEPS)
        if len(own.batch(step))
    )
    client = LocalClient(
        start=federation.initial.params,
        batches=batches,
        num_examples=1,
        dropout_seed=0,
        where="south",
        loss=lambda model, batch: loss(model, batch) * len(batch["labels"]) / BATCH,
    )
    subspace = federation.method.subspace
    start = p.select(federation.initial.params, names)
    return train_locally(
        federation.model,
        client,
        trained=names,
        learning_rate=0.1,
        training=replace(training, max_grad_norm=None),
        projection=subspace and subspace.projection(p.structure_of(start), 0),
    )


def norm(delta: p.Params) -> float:
    return float(torch.cat([tensor.flatten() for tensor in delta.values()]).norm())


def check_close(found: p.Params, expected: p.Params, *, rtol: float = 1e-3) -> None:
    assert norm(expected) > 1e-4
    assert norm(p.subtract(found, expected)) < rtol * norm(expected)


@pytest.mark.parametrize(("stacked", "proximal"), [(True, 2.0), (False, 0.0)])
def test_without_noise_it_is_plain_sgd_on_poisson_batches(
    federation: Federation, *, stacked: bool, proximal: float
) -> None:
    """``max_grad_norm``, which private training passes over, would change it."""
    training = LocalTraining(
        optimizer="sgd", weight_decay=0.1, max_grad_norm=1e-3, proximal=proximal
    )
    own = mechanism(federation)
    assert min(len(own.batch(step)) for step in range(STEPS)) > 0
    found = train(federation, own=own, training=training, stacked=stacked)
    check_close(found.delta, train_plainly(federation, own=own, training=training).delta)
    assert (found.num_examples, found.num_steps, found.loss) == (own.examples, STEPS, 0.0)


def test_in_a_subspace_the_gradient_of_its_numbers_is_clipped(make_config: MakeConfig) -> None:
    federation = build_federation(make_config(method=SUBSPACE))
    federation.model.apply(lambda m: setattr(m, "p", 0.0) if hasattr(m, "p") else None)
    training = LocalTraining(optimizer="sgd", weight_decay=0.1, max_grad_norm=None)
    own = mechanism(federation)
    found = train(federation, own=own, training=training)
    assert {name: tuple(t.shape) for name, t in found.delta.items()} == {"theta": (40,)}
    check_close(found.delta, train_plainly(federation, own=own, training=training).delta)
    short = replace(own, clipping_norm=1e-3)
    still = train(federation, own=short, training=replace(training, weight_decay=0.0))
    examples = sum(len(own.batch(step)) for step in range(STEPS))
    assert 0 < norm(still.delta) <= 0.1 * 1e-3 / BATCH * examples * (1 + 1e-6)


@pytest.mark.slow
def test_a_step_may_be_split(federation: Federation) -> None:
    """By one, two, or all examples at a time; clipped, with noise, to rounding."""
    training = LocalTraining(optimizer="adamw")
    own = mechanism(federation, clipping_norm=0.2, noise_multiplier=0.5, batch_size=8)
    whole = train(federation, own=own, training=training).delta
    for most in (1, 2):
        check_close(train(federation, own=own, training=training, most=most).delta, whole)


def test_an_empty_batch_is_a_step_of_noise_alone(federation: Federation) -> None:
    """Of standard deviation ``1.5 * 0.2`` over one example that is expected."""
    own = mechanism(federation, clipping_norm=0.2, noise_multiplier=1.5, batch_size=1)

    class Empty(ExampleMechanism):
        def batch(self, step: int) -> np.ndarray:
            return np.array([], dtype=np.int64)

    nobody = Empty(**{key: getattr(own, key) for key in own.__dataclass_fields__})
    training = LocalTraining(optimizer="sgd", weight_decay=0.0)
    delta = train(federation, own=nobody, training=training).delta
    moved = torch.cat([tensor.flatten() for tensor in delta.values()])
    # At learning rate 0.1, the sum of five independent ones.
    assert float(moved.std()) == pytest.approx(0.1 * 0.3 * STEPS**0.5, rel=0.1)
    assert float(moved.mean()) == pytest.approx(0.0, abs=0.01)


def test_parts_hold_every_example_once_and_keep_within_the_bounds() -> None:
    lengths = np.array([5, 9, 2, 30, 7, 2, 3])
    indices = np.array([6, 0, 3, 1, 5, 2])
    parts = list(split_by_length(lengths, indices, max_tokens=9, most=2))
    assert [list(part) for part in parts] == [[5, 2], [6], [0], [1], [3]]
    assert list(split_by_length(lengths, np.array([], dtype=int), max_tokens=9, most=9)) == []


def after_a_round(
    federation: Federation, *, secret: bytes, noise: float = 0.7, tokens: int | None = None
) -> p.Params:
    privacy = ExamplePrivacy(
        run="a",
        settings="all",
        clipping_norm=0.2,
        noise_multipliers=dict.fromkeys(federation.population, noise),
        batch_size=8,
        streams=secret_streams(secret),
    )
    state, report = run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=0),
        learning_rate=0.1,
        call_clients=local_clients(
            federation, state=federation.initial, seed=0, max_tokens=tokens, private=privacy
        ),
    )
    assert all(client.loss == 0.0 for client in report.clients.values())
    changed = list(state.changed_at)
    return p.subtract(p.select(state.params, changed), p.select(federation.initial.params, changed))


def test_in_a_round_the_noise_is_of_the_secret_alone(federation: Federation) -> None:
    """The same secret, the same bits; another one, another update; alone or in batched cohorts."""
    first = after_a_round(federation, secret=b"a")
    again = after_a_round(federation, secret=b"a")
    assert all(torch.equal(first[name], again[name]) for name in first)
    check_close(after_a_round(federation, secret=b"a", tokens=60), first)
    other = after_a_round(federation, secret=b"b")
    assert norm(p.subtract(other, first)) > 0.5 * norm(first)


def test_every_client_has_other_noise(federation: Federation) -> None:
    """Of the same task but for its name, as two clients with the same examples have it."""
    privacy = ExamplePrivacy(
        run="a",
        settings="all",
        clipping_norm=1.0,
        noise_multipliers={"north": 1.0, "south": 1.0},
        batch_size=2,
        streams=STREAMS,
    )
    nothing = torch.zeros(100, dtype=torch.int64)
    released = [
        privacy.mechanism(client, examples=4, task=[b"task"]).release(nothing, step=step)
        for client in ("north", "south")
        for step in (0, 1)
    ]
    correlation = np.corrcoef(torch.stack(released).numpy())
    assert np.abs(correlation - np.eye(4)).max() < 0.5


def asked_of_south(federation: Federation, *, settings: str = "all") -> str:
    """What tells the first round's task of a client from every other."""
    heard: dict[str, str] = {}
    privacy = ExamplePrivacy(
        run="a",
        settings=settings,
        clipping_norm=0.2,
        noise_multipliers=dict.fromkeys(federation.population, 0.7),
        batch_size=8,
        streams=STREAMS,
        spend=heard.__setitem__,
    )
    run_round(
        federation.initial,
        method=federation.method,
        cohorts=Cohorts(population=federation.population, seed=0),
        learning_rate=0.1,
        call_clients=local_clients(federation, state=federation.initial, seed=0, private=privacy),
    )
    return heard["south"]


def test_asked_of_another_model_a_client_draws_other_noise_and_spends_again(
    make_config: MakeConfig,
) -> None:
    """One bit of a frozen weight, which no sample of it holds, with the sum of all as it was."""
    federation = build_federation(make_config())
    first = asked_of_south(federation)
    assert asked_of_south(federation) == first
    assert asked_of_south(federation, settings="other") != first
    weight = next(
        tensor
        for name, tensor in federation.model.named_parameters()
        if "word_embeddings" in name and name not in federation.initial.params
    )
    bits = weight.data.view(torch.int32).view(-1)
    bits[1:3] += torch.tensor([1, -1], dtype=torch.int32)
    assert asked_of_south(federation) != first


def test_what_a_run_is_configured_with_tells_its_tasks_apart(make_config: MakeConfig) -> None:
    config = make_config()

    def changed(section: str, **values: object) -> RunConfig:
        own = getattr(config, section).model_copy(update=values)
        return config.model_copy(update={section: own})

    first = digest_of_settings(config)
    for other in (
        changed("model", dropout=0.3),
        changed("model", dtype="bfloat16"),
        changed("task", kind="label-words"),
        changed("client", proximal=0.5),
    ):
        assert digest_of_settings(other) != first
    assert digest_of_settings(changed("data", path=config.data.path.parent / "moved.csv")) == first
