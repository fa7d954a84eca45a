"""A round against its centralized twin, and its bookkeeping."""

from collections.abc import Iterable, Iterator
from dataclasses import replace

import pytest
import torch
from peft import LoraConfig
from torch import Tensor, nn

from fedtt import params as p
from fedtt.errors import DivergenceError, FedttError, WireError
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.aggregate.trimmed_mean import TrimmedMean
from fedtt.federated.aggregate.weighted_mean import WeightedMean
from fedtt.federated.cohort import Cohorts
from fedtt.federated.local.alone import train_locally
from fedtt.federated.local.client import Batch, LocalClient
from fedtt.federated.local.step import LocalTraining
from fedtt.federated.method import Method
from fedtt.federated.round import CallClient, CallClients, ClientTask, one_by_one, run_round
from fedtt.federated.schedules.everything import all_parameters
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.types import ClientUpdate, ServerState
from fedtt.federated.wire.broadcast import decode_broadcast
from fedtt.federated.wire.payload import decode, encode
from fedtt.federated.wire.update import encode_update

FEDAVG = Method(
    name="test",
    reference="McMahan et al. 2017",
    adapter=LoraConfig(),
    schedule=all_parameters,
    weighting=WEIGHTINGS["examples"],
    aggregation=WeightedMean(),
    server=ServerOptimizer(),
)
SGD = LocalTraining(optimizer="sgd", weight_decay=0.0, max_grad_norm=None)
SIZES = {"a": 3, "b": 11, "c": 40}  # unequal on purpose: an unweighted mean would fail
NAMES = ["bias", "weight"]


def make_model() -> nn.Linear:
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return nn.Linear(5, 3)


def examples(client_id: str) -> Batch:
    generator = torch.Generator().manual_seed(ord(client_id))
    size = SIZES[client_id]
    shift = ord(client_id) - ord("a")  # clients differ in distribution, not only in draws
    return {
        "x": torch.randn(size, 5, generator=generator) + shift,
        "y": torch.randint(0, 3, (size,), generator=generator),
    }


def loss_of(model: nn.Module, batch: Batch) -> Tensor:
    return nn.functional.cross_entropy(model(batch["x"]), batch["y"])


def clients(model: nn.Module) -> CallClient:
    begin = p.read_params(model, NAMES)
    known: dict[str, p.Params] = {}

    def call(task: ClientTask) -> bytes:
        broadcast = decode_broadcast(task.payload, structure=task.structure)
        known[task.client_id] = broadcast.apply(known.get(task.client_id, begin))
        update = train_locally(
            model,
            LocalClient(
                start=known[task.client_id],
                batches=[examples(task.client_id)],
                num_examples=SIZES[task.client_id],
                dropout_seed=0,
                where="",
                loss=loss_of,
            ),
            trained=broadcast.trained,
            learning_rate=task.learning_rate,
            training=SGD,
        )
        return encode_update(update)

    return call


def first_state() -> ServerState:
    return ServerState(next_round=0, params=p.read_params(make_model(), NAMES))


def one_round(state: ServerState, *, method: Method = FEDAVG, call: CallClient | None = None):
    return run_round(
        state,
        method=method,
        cohorts=Cohorts(population=tuple(SIZES), seed=0),
        learning_rate=0.3,
        call_clients=one_by_one(call or clients(make_model())),
    )


def test_a_full_batch_step_over_unequal_clients_is_one_step_on_the_union() -> None:
    state, _ = one_round(first_state())

    twin = make_model()
    union = {key: torch.cat([examples(c)[key] for c in SIZES]) for key in ("x", "y")}
    loss_of(twin, union).backward()
    for name in NAMES:
        parameter = twin.get_parameter(name)
        expected = parameter.detach() - 0.3 * parameter.grad
        torch.testing.assert_close(state.params[name], expected, atol=1e-6, rtol=1e-6)


def test_only_what_the_schedule_names_travels_and_moves() -> None:
    received: list[set[str]] = []

    def call(task: ClientTask) -> bytes:
        received.append(set(decode_broadcast(task.payload, structure=task.structure).trained))
        return clients(make_model())(task)

    start = first_state()
    bias_only = replace(FEDAVG, schedule=lambda state: frozenset({"bias"}))
    state, report = one_round(start, method=bias_only, call=call)
    assert received == [{"bias"}] * 3
    assert torch.equal(state.params["weight"], start.params["weight"])
    assert not torch.equal(state.params["bias"], start.params["bias"])
    _, second = one_round(state, method=bias_only, call=clients(make_model()))
    # At first nothing is news, and then the three numbers of the bias, not the weight's fifteen.
    assert 0 < second.downlink_bytes - report.downlink_bytes < 3 * 4 * 15


def test_report_counts_the_bytes_that_went_over_the_wire() -> None:
    replies, payloads = [], []

    def call(task: ClientTask) -> bytes:
        payloads.append(len(task.payload))
        reply = clients(make_model())(task)
        replies.append(len(reply))
        return reply

    _, report = one_round(first_state(), call=call)
    assert list(report.clients) == ["a", "b", "c"]
    assert report.uplink_bytes == sum(replies)
    assert report.downlink_bytes == sum(payloads)
    losses = [client.loss for client in report.clients.values()]
    weighted = sum(loss * size for loss, size in zip(losses, SIZES.values(), strict=True))
    assert report.loss == pytest.approx(weighted / sum(SIZES.values()))


def test_the_old_state_is_left_as_it_was_and_the_new_one_counts_on() -> None:
    start = first_state()
    state, report = one_round(start)
    assert (start.next_round, state.next_round, report.round_index) == (0, 1, 0)
    assert all(torch.equal(start.params[n], first_state().params[n]) for n in NAMES)


def test_the_server_learning_rate_scales_the_step() -> None:
    start = first_state()
    full, _ = one_round(start)
    halved = replace(FEDAVG, server=ServerOptimizer(learning_rate=0.5))
    half, _ = one_round(start, method=halved)
    for name in NAMES:
        middle = (start.params[name] + full.params[name]) / 2
        torch.testing.assert_close(half.params[name], middle)


def test_a_reply_for_other_parameters_never_reaches_the_state() -> None:
    def call(task: ClientTask) -> bytes:
        return encode({"other": torch.zeros(3)})

    with pytest.raises(WireError, match="made for other parameters"):
        one_round(first_state(), call=call)


def test_uniform_weighting_counts_every_client_the_same() -> None:
    start = first_state()
    deltas: list[dict[str, Tensor]] = []

    def call(task: ClientTask) -> bytes:
        reply = clients(make_model())(task)
        deltas.append(decode(reply, expected=task.structure)[0])
        return reply

    uniform = replace(FEDAVG, weighting=WEIGHTINGS["uniform"])
    state, _ = one_round(start, method=uniform, call=call)
    for name in NAMES:
        mean = torch.stack([delta[name] for delta in deltas]).mean(dim=0)
        torch.testing.assert_close(state.params[name], start.params[name] + mean)


def test_a_state_that_is_not_finite_is_never_handed_on() -> None:
    def call(task: ClientTask) -> bytes:
        delta = {name: torch.full(task.structure[name].shape, 1e38) for name in NAMES}
        return encode_update(ClientUpdate(delta=delta, num_examples=1, num_steps=1, loss=1.0))

    fast = replace(FEDAVG, server=ServerOptimizer(learning_rate=100.0))
    with pytest.raises(DivergenceError, match="round 0, bias"):
        one_round(first_state(), method=fast, call=call)


def run_with(call_clients: CallClients) -> None:
    run_round(
        first_state(),
        method=FEDAVG,
        cohorts=Cohorts(population=tuple(SIZES), seed=0),
        learning_rate=0.3,
        call_clients=call_clients,
    )


def test_tasks_and_replies_are_streams() -> None:
    """The next task is made after the reply to the one before went into the mean."""
    answer, taken = clients(make_model()), []

    def call(tasks: Iterable[ClientTask]) -> Iterator[bytes]:
        for task in tasks:
            taken.append(task.client_id)
            yield answer(task)
            assert taken[-1] == task.client_id

    run_with(call)
    assert taken == list(SIZES)


def test_an_engine_that_loses_replies_is_noticed() -> None:
    answer = clients(make_model())
    with pytest.raises(FedttError, match=r"too few replies(.|\n)*got: none from b, c"):
        run_with(lambda tasks: [answer(task) for task in tasks][:1])


def test_an_engine_that_makes_replies_up_is_noticed() -> None:
    answer = clients(make_model())
    with pytest.raises(FedttError, match=r"nobody was asked for(.|\n)*got: reply 4 for 3 tasks"):
        run_with(lambda tasks: one_too_many(answer, tasks))


def one_too_many(answer: CallClient, tasks: Iterable[ClientTask]) -> Iterator[bytes]:
    """One reply a task, and one more."""
    for task in tasks:
        reply = answer(task)
        yield reply
    yield reply


@pytest.mark.parametrize("answering", [1, 2, 3])
def test_a_round_with_too_few_for_its_defense_changes_nothing_and_says_so(answering: int) -> None:
    answer = clients(make_model())
    start = first_state()
    state, report = run_round(
        start,
        method=replace(FEDAVG, aggregation=TrimmedMean(trim=0.1)),
        cohorts=Cohorts(population=tuple(SIZES), seed=0),
        learning_rate=0.3,
        call_clients=lambda tasks: [
            answer(task) if index < answering else None for index, task in enumerate(tasks)
        ],
    )
    same = all(torch.equal(state.params[name], start.params[name]) for name in NAMES)
    assert same == (answering < 3)
    expected = f"{answering} answered, and the aggregation takes 3"
    assert report.unused == (expected if answering < 3 else None)
    assert len(report.clients) == answering
    assert state.next_round == 1
