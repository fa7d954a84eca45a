"""A client that keeps its own copy of the global model, as a real site does."""

import torch
from peft import LoraConfig

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.cohort import Cohorts
from fedtt.federated.method import Method
from fedtt.federated.round import ClientTask, one_by_one, run_round
from fedtt.federated.server import ServerOptimizer
from fedtt.federated.types import ClientUpdate, RoundReport, ServerState
from fedtt.federated.wire.broadcast import decode_broadcast
from fedtt.federated.wire.update import encode_update

METHOD = Method(
    name="test",
    reference="",
    adapter=LoraConfig(),
    weighting=WEIGHTINGS["examples"],
    server=ServerOptimizer(),
)


class Site:
    """It knows what it began with and what it was sent; ``sent`` are bytes, ``stepped`` steps."""

    def __init__(self, known: p.Params) -> None:
        self.known = dict(known)
        self.sent: list[int] = []
        self.stepped: list[int] = []

    def answer(self, task: ClientTask, *, seed: int) -> bytes:
        broadcast = decode_broadcast(
            task.payload, structure=task.structure, subspace=task.subspace, codec=task.downlink
        )
        self.known = broadcast.apply(self.known, subspace=task.subspace, codec=task.downlink)
        self.sent.append(len(task.payload))
        self.stepped.append(len(broadcast.steps))
        stream = torch.Generator().manual_seed(seed)
        delta = {
            name: torch.randn(spec.shape, generator=stream)
            for name, spec in task.answer(broadcast.trained).items()
        }
        update = ClientUpdate(delta=delta, num_examples=3, num_steps=1, loss=1.0)
        return encode_update(update, codec=task.codec, seed=seed)


def run(
    method: Method, sites: dict[str, Site], *, cohorts: Cohorts, rounds: int, state: ServerState
) -> tuple[ServerState, list[RoundReport]]:
    """So many rounds; a site that is called has the global model, bit for bit."""
    called, reports = 0, []
    for _ in range(rounds):
        before = state.params

        def call(task: ClientTask, before: p.Params = before) -> bytes:
            nonlocal called
            called += 1
            site = sites[task.client_id]
            reply = site.answer(task, seed=called)
            assert all(torch.equal(site.known[name], before[name]) for name in before)
            return reply

        state, report = run_round(
            state,
            method=method,
            cohorts=cohorts,
            learning_rate=0.1,
            call_clients=one_by_one(call),
        )
        reports.append(report)
    return state, reports
