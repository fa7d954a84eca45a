"""Rounds whose clients send what a test wants, under client-level privacy."""

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch
from tests.federated import own_copy

from fedtt import params as p
from fedtt.federated.aggregate.aggregation import WEIGHTINGS
from fedtt.federated.cohort import Cohorts
from fedtt.federated.method import Method
from fedtt.federated.privacy.client_privacy import (
    NOISE,
    NORM,
    AdaptiveClipping,
    ClientPrivacy,
)
from fedtt.federated.privacy.keystream import Streams, secret_streams
from fedtt.federated.round import ClientReply, ClientTask, run_round
from fedtt.federated.types import ClientUpdate, RoundReport, ServerState
from fedtt.federated.wire.update import encode_update

METHOD = replace(own_copy.METHOD, weighting=WEIGHTINGS["uniform"])
NO_NOISE = 1e-30  # a noise multiplier that rounds to nothing
SECRET = bytes(range(32))

Answer = Callable[[ClientTask], p.Params | None]


def first_state(
    params: p.Params, *, noise_multiplier: float, clipping_norm: float = 1.0
) -> ServerState:
    book = {NOISE: noise_multiplier, NORM: clipping_norm}
    return ServerState(next_round=0, params=params, privacy=book)


def private_round(
    state: ServerState,
    answers: Mapping[str, p.Params | None],
    *,
    expected: int | None = None,
    streams: Streams | None = None,
    sampling: str = "poisson",
    adaptive: AdaptiveClipping | None = None,
    method: Method = METHOD,
    population: int | None = None,
) -> tuple[ServerState, RoundReport]:
    """One round of the clients that ``answers`` names, each sending its update; None: nothing."""
    privacy = ClientPrivacy(
        sampling=sampling,
        population=population or len(answers),
        expected=expected or len(answers),
        streams=streams or secret_streams(SECRET),
        adaptive=adaptive,
    )

    def call(task: ClientTask) -> ClientReply:
        delta = answers[task.client_id]
        if delta is None:
            return None
        # What it says of itself differs by orders of magnitude; nothing may come of it.
        said = 10 ** (list(answers).index(task.client_id) % 10)
        update = ClientUpdate(delta=delta, num_examples=said, num_steps=1, loss=0.1)
        return encode_update(update, codec=method.codec)

    return run_round(
        state,
        method=method,
        cohorts=Cohorts(population=tuple(answers), seed=0, draw=privacy.positions),
        learning_rate=0.1,
        call_clients=lambda tasks: map(call, tasks),
        privacy=privacy,
    )


def moved(before: ServerState, after: ServerState) -> torch.Tensor:
    """By how much the round changed the parameters, all in one."""
    changes = p.subtract(after.params, before.params)
    return torch.cat([changes[name].double().flatten() for name in sorted(changes)])


def at(state: ServerState, **changes: object) -> ServerState:
    return replace(state, **changes)
