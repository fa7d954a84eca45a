import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.federated.learning_rate import DECAYS, learning_rate_at


def rates(rounds: int, *, decay: str, warmup_rounds: int = 0) -> list[float]:
    return [
        learning_rate_at(t, rounds=rounds, base=2.0, decay=decay, warmup_rounds=warmup_rounds)
        for t in range(rounds)
    ]


def test_by_hand() -> None:
    assert rates(4, decay="constant") == [2.0, 2.0, 2.0, 2.0]
    assert rates(4, decay="linear") == [2.0, 1.5, 1.0, 0.5]
    assert rates(4, decay="cosine") == pytest.approx([2.0, 1.7071068, 1.0, 0.2928932])
    assert rates(5, decay="linear", warmup_rounds=3) == [0.5, 1.0, 1.5, 2.0, 1.0]


@given(st.integers(1, 40), st.sampled_from(sorted(DECAYS)), st.integers(0, 45))
def test_every_round_moves_and_none_exceeds_the_base(rounds: int, decay: str, warmup: int) -> None:
    assert all(0 < rate <= 2.0 for rate in rates(rounds, decay=decay, warmup_rounds=warmup))
