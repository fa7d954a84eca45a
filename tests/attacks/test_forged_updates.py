"""What each attack sends of what its attackers trained."""

from collections.abc import Iterable

import pytest
import torch

from fedtt.attacks import ATTACKS
from fedtt.attacks.forging import Trained
from fedtt.attacks.poisoned_texts import Poisoning
from fedtt.engine.attacked_clients import AttackedClients
from fedtt.engine.hostile_clients import Hostile
from fedtt.errors import FedttError
from fedtt.federated.round import ClientTask
from fedtt.federated.types import ClientUpdate
from fedtt.federated.wire.broadcast import Broadcast, encode_broadcast
from fedtt.federated.wire.codec import CodecOptions
from fedtt.federated.wire.levels import int8
from fedtt.federated.wire.update import decode_update, encode_update
from fedtt.params import Params, structure_of

SHAPES = {"a": (3, 4), "b": (5,)}
NOTHING = Poisoning(num_classes=2, trigger="cf", target=0, share=0.5)


def params(seed: int) -> Params:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(shape, generator=generator) for name, shape in SHAPES.items()}


def update(seed: int) -> ClientUpdate:
    return ClientUpdate(delta=params(seed), num_examples=7 + seed, num_steps=2, loss=0.5)


def flat(delta: Params) -> torch.Tensor:
    return torch.cat([delta[name].flatten() for name in sorted(delta)]).double()


def forged(kind: str, strength: float, *, count: int = 3) -> list[ClientUpdate]:
    trained = [Trained(update=update(k), first=params(100 + k), seed=900 + k) for k in range(count)]
    sent = list(ATTACKS[kind].forge(trained, strength))
    again = ATTACKS[kind].forge(trained, strength)
    assert [flat(u.delta).tolist() for u in sent] == [flat(u.delta).tolist() for u in again]
    assert [structure_of(u.delta) for u in sent] == [structure_of(params(0))] * count
    return sent


@pytest.mark.parametrize(
    ("kind", "strength", "factor"),
    [("sign-flip", 3.0, -3.0), ("scaled-update", 10.0, 10.0), ("label-flip", 1.0, 1.0)],
)
def test_multiples_of_the_honest_update(kind: str, strength: float, factor: float) -> None:
    for k, sent in enumerate(forged(kind, strength)):
        torch.testing.assert_close(flat(sent.delta), factor * flat(params(k)))
        assert sent.num_examples == 7 + k


def test_gaussian_is_as_long_as_it_says_and_points_anywhere() -> None:
    for k, sent in enumerate(forged("gaussian", 10.0)):
        noise, honest = flat(sent.delta), flat(params(k))
        assert float(noise.norm()) == pytest.approx(10 * float(honest.norm()), rel=1e-5)
        assert abs(float(noise @ honest / noise.norm() / honest.norm())) < 0.8
    many = [Trained(update=update(0), first=params(0), seed=k) for k in range(400)]
    draws = torch.stack([flat(u.delta) for u in ATTACKS["gaussian"].forge(many, 1.0)])
    deviation = float(flat(params(0)).norm()) / 17**0.5
    assert float(draws.mean(0).abs().max()) < 5 * deviation / 20
    assert float(draws.std()) == pytest.approx(deviation, rel=0.02)


def test_a_free_rider_sends_nothing_or_noise() -> None:
    assert not any(bool(flat(sent.delta).any()) for sent in forged("free-rider", 0.0))
    noise = torch.stack([flat(sent.delta) for sent in forged("free-rider", 1e-3, count=50)])
    assert float(noise.std()) == pytest.approx(1e-3, rel=0.1)


def test_a_wrong_count_is_in_the_header_of_a_flipped_update() -> None:
    for k, sent in enumerate(forged("wrong-count", 1e6)):
        assert sent.num_examples == 1_000_000
        torch.testing.assert_close(flat(sent.delta), -flat(params(k)))


def test_a_replay_is_the_first_update() -> None:
    for k, sent in enumerate(forged("stale-replay", 1.0)):
        assert torch.equal(flat(sent.delta), flat(params(100 + k)))


def test_colluders_send_one_update_some_deviations_from_their_mean() -> None:
    stacked = torch.stack([flat(params(k)) for k in range(3)])
    expected = stacked.mean(0) - 1.5 * stacked.var(0, correction=0).sqrt()
    for sent in forged("mean-shift", 1.5):
        torch.testing.assert_close(flat(sent.delta), expected, atol=1e-6, rtol=1e-6)


def task(client_id: str) -> ClientTask:
    structure = structure_of(params(0))
    payload = encode_broadcast(
        Broadcast(values={}, trained=frozenset(structure)), structure=structure
    )
    return ClientTask(
        round_index=3,
        client_id=client_id,
        payload=payload,
        structure=structure,
        learning_rate=0.1,
        codec=int8(CodecOptions(block=8, stochastic=False)),
    )


def test_only_attackers_change_and_they_travel_in_the_task_s_codec() -> None:
    names = ["honest", "first", "other", "second"]
    honest = {
        name: encode_update(update(k), codec=task(name).codec) for k, name in enumerate(names)
    }

    def train(tasks: Iterable[ClientTask]) -> Iterable[bytes]:
        return (honest[asked.client_id] for asked in tasks)

    first: dict[str, Params] = {}
    hostile = Hostile(
        kind="sign-flip", strength=1.0, clients=("first", "second"), seed=0, poisoning=NOTHING
    )
    clients = AttackedClients(clients=train, hostile=hostile, first=first)
    replies = dict(zip(names, clients(map(task, names)), strict=True))
    expected = structure_of(params(0))
    for k, name in enumerate(names):
        sent = replies[name]
        if name not in hostile.clients:
            assert sent == honest[name]
            continue
        decoded = decode_update(sent, expected=expected, codec=task(name).codec)
        torch.testing.assert_close(flat(decoded.delta), -flat(params(k)), atol=0.05, rtol=0)
    assert first.keys() == {"first", "second"}


def test_no_reply_is_forged_of_what_is_none() -> None:
    hostile = Hostile(kind="sign-flip", strength=1.0, clients=("a",), seed=0, poisoning=NOTHING)
    clients = AttackedClients(
        clients=lambda tasks: [None for _ in tasks], hostile=hostile, first={}
    )
    with pytest.raises(FedttError, match="brings back payloads"):
        clients([task("a")])
