"""A round by a secure sum in one process: the mean of those who answer, and nothing of one."""

from collections.abc import Collection
from dataclasses import replace

import numpy as np
import pytest
import torch
from tests.federated import own_copy

from fedtt import params as p
from fedtt.config import WireConfig
from fedtt.engine.build_method import build_downlink
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.cohort import Cohorts
from fedtt.federated.failures import Failure
from fedtt.federated.method import Method
from fedtt.federated.round import ClientReply, ClientTask, run_round
from fedtt.federated.schedules.everything import all_parameters
from fedtt.federated.secure import sum_here
from fedtt.federated.secure.secure_round import SecureSum, Summed, SumRequest, run_secure_round
from fedtt.federated.secure.share_disputes import REVEALED
from fedtt.federated.secure.sum_client import Masked, reveal
from fedtt.federated.secure.sum_here import SumHere
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.subspace import THETA, Subspace
from fedtt.federated.types import ClientUpdate, RoundReport, ServerState
from fedtt.federated.wire.update import encode_update

PARAMS = {"a": torch.zeros(4, 3), "b": torch.zeros(5)}
NAMES = tuple("vwxyz")
EXAMPLES = {"v": 3, "w": 50, "x": 7, "y": 120, "z": 11}
BY_EXAMPLES = replace(own_copy.METHOD, weighting=WEIGHTINGS["examples"])
UNIFORM = replace(own_copy.METHOD, weighting=WEIGHTINGS["uniform"])


def delta_of(client_id: str, structure: p.Structure) -> p.Params:
    stream = torch.Generator().manual_seed(NAMES.index(client_id))
    return {
        name: torch.randn(spec.shape, generator=stream) * 0.1 for name, spec in structure.items()
    }


def one_round(
    *,
    silent: str = "",
    method: Method = BY_EXAMPLES,
    secure: SecureSum | None,
    state: ServerState | None = None,
    left_out: Collection[str] = (),
) -> tuple[ServerState, RoundReport]:
    def call(task: ClientTask) -> ClientReply:
        if task.client_id in silent:
            return None
        update = ClientUpdate(
            delta=delta_of(task.client_id, task.answer(method.trained(state))),
            num_examples=EXAMPLES[task.client_id],
            num_steps=2,
            loss=float(NAMES.index(task.client_id)),
        )
        return encode_update(update)

    state = state or ServerState(next_round=0, params=PARAMS)
    asked = {
        "method": method,
        "cohorts": Cohorts(population=NAMES, seed=0, left_out=left_out),
        "learning_rate": 0.1,
    }
    if secure is None:
        return run_round(state, call_clients=lambda tasks: map(call, tasks), **asked)
    here = SumHere(call_clients=lambda tasks: map(call, tasks))
    return run_secure_round(state, call_sum=here, secure=secure, **asked)


def settings_of(method: Method, *, threshold: int | None = None) -> SecureSum:
    most = 200 if method.weighting is WEIGHTINGS["examples"] else 1
    return SecureSum(threshold=threshold, value_range=1.0, most_weight=most)


@pytest.mark.parametrize("method", [BY_EXAMPLES, UNIFORM])
@pytest.mark.parametrize("silent", ["", "w"])
@pytest.mark.parametrize("optimizer", ["fedavg", "fedadam"])
def test_it_ends_where_the_plain_mean_does(method: Method, silent: str, optimizer: str) -> None:
    method = replace(method, server=ServerOptimizer(name=optimizer, learning_rate=0.5))
    plain, heard = one_round(silent=silent, method=method, secure=None)
    summed, report = one_round(silent=silent, method=method, secure=settings_of(method))
    for name, tensor in plain.params.items():
        torch.testing.assert_close(summed.params[name], tensor, atol=2e-6, rtol=1e-4)
    assert summed.synced_at == plain.synced_at
    assert set(report.dropped) == set(silent)
    if method.weighting is WEIGHTINGS["examples"]:
        assert report.loss == pytest.approx(heard.loss, abs=1e-5)


def test_of_a_client_the_report_says_its_bytes_alone() -> None:
    _, plain = one_round(secure=None)
    _, report = one_round(secure=settings_of(BY_EXAMPLES))
    for client_id, client in report.clients.items():
        assert (client.num_examples, client.num_steps, client.loss) == (0, 0, 0.0)
        # 64 of keys, 32 of a commitment, 4 sealed shares of 82, and 5 shares of 33.
        more = client.uplink_bytes - plain.clients[client_id].uplink_bytes
        assert 64 + 32 + 4 * 82 + 5 * 33 - 100 < more < 64 + 32 + 4 * 82 + 5 * 33 + 100
        assert client.downlink_bytes > plain.clients[client_id].downlink_bytes
    assert report.of_sum is not None
    assert report.of_sum.out_of_range == 0


def test_below_the_threshold_there_is_no_sum_and_the_parameters_stay() -> None:
    state, report = one_round(silent="vw", secure=settings_of(BY_EXAMPLES))  # 4 of 5
    assert report.unused == "3 of 5 clients, and the secure sum takes 4"
    assert report.loss is None
    assert all(torch.equal(state.params[name], PARAMS[name]) for name in PARAMS)
    state, report = one_round(silent="v", secure=settings_of(BY_EXAMPLES, threshold=4))
    assert report.unused is None
    assert not torch.equal(state.params["a"], PARAMS["a"])


def test_what_is_out_of_range_is_said() -> None:
    narrow = replace(settings_of(UNIFORM), value_range=0.2)
    _, report = one_round(method=UNIFORM, secure=narrow)
    larger = sum(
        int((tensor.abs() > 0.2).sum())
        for name in NAMES
        for tensor in delta_of(name, p.structure_of(PARAMS)).values()
    )
    assert report.of_sum is not None
    assert report.of_sum.out_of_range == larger > 0


@pytest.mark.parametrize(("downlink", "error"), [("plain", 1e-6), ("int8", 2e-3)])
def test_a_subspace_s_few_numbers_are_summed(downlink: str, error: float) -> None:
    """And are the step that clients are sent, in whatever codec."""
    subspace = Subspace(size=3, redraw=0, balance="parameters", seed=5)
    method = replace(
        UNIFORM,
        subspace=subspace,
        schedule=all_parameters,
        downlink=build_downlink(WireConfig(downlink=downlink)),
    )
    state, _ = one_round(method=method, secure=settings_of(method))
    thetas = [delta_of(n, {THETA: p.TensorSpec(shape=(3,), dtype=torch.float32)}) for n in NAMES]
    mean = sum(theta[THETA] for theta in thetas) / len(NAMES)
    numbers = state.steps[0].numbers(
        p.structure_of(PARAMS), subspace=subspace, codec=method.downlink
    )
    torch.testing.assert_close(numbers[THETA], mean, atol=error, rtol=1e-5)


def test_an_impossible_sum_loses_its_round_and_ends_no_run() -> None:
    def lying(request: SumRequest) -> Summed:
        encoding = request.encoding
        return Summed(
            total=np.zeros(encoding.words, np.uint32),  # of no weight at all
            uplink=dict.fromkeys(request.cohort, 10),
            downlink=dict.fromkeys(request.cohort, 10),
        )

    state = ServerState(next_round=0, params=PARAMS)
    after, report = run_secure_round(
        state,
        method=BY_EXAMPLES,
        cohorts=Cohorts(population=NAMES, seed=0),
        learning_rate=0.1,
        call_sum=lying,
        secure=SecureSum(threshold=None, value_range=1.0, most_weight=200),
    )
    assert "cannot have made" in (report.unused or "")
    assert all(torch.equal(after.params[name], PARAMS[name]) for name in PARAMS)
    assert after.next_round == 1


def test_one_who_lies_at_the_unmasking_is_booked_and_changes_no_bit(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    honest, _ = one_round(method=UNIFORM, secure=settings_of(UNIFORM))

    def lying(client: Masked, survivors: frozenset[int]) -> tuple[Masked, dict[int, int]]:
        after, shares = reveal(client, survivors)
        return after, {p: s ^ (client.me.place == 2) for p, s in shares.items()}

    monkeypatch.setattr(sum_here, "reveal", lying)
    state, report = one_round(method=UNIFORM, secure=settings_of(UNIFORM))
    assert all(torch.equal(state.params[name], honest.params[name]) for name in PARAMS)
    assert report.failed == {"w": REVEALED}
    assert state.failures == {"w": Failure(REVEALED, 1)}
    assert set(report.clients) == set(NAMES)
    again, _ = one_round(method=UNIFORM, secure=settings_of(UNIFORM), state=state)
    assert again.failures == {"w": Failure(REVEALED, 2)}, "its update was heard, and it lied again"


def test_a_client_that_is_left_out_is_not_there_and_the_others_sum_is_of_the_same_steps() -> None:
    failures = {"w": Failure("why", 3)}
    state, report = one_round(
        method=UNIFORM, secure=settings_of(UNIFORM), left_out=failures, silent="w"
    )
    without, other = one_round(method=UNIFORM, secure=settings_of(UNIFORM), silent="w")
    assert all(torch.equal(state.params[name], without.params[name]) for name in PARAMS)
    assert not report.dropped
    assert other.of_sum is not None
    assert other.of_sum.left == {"w": "masked update"}
    _, few = one_round(
        secure=settings_of(BY_EXAMPLES), left_out={**failures, "v": Failure("how", 3)}
    )
    assert few.unused == "3 of 5 clients, and the secure sum takes 4"
