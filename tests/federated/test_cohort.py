import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedtt.errors import ConfigError
from fedtt.federated.cohort import Cohorts, sample_cohort

POPULATION = 20


def test_no_size_means_everyone_in_population_order() -> None:
    assert sample_cohort(POPULATION, cohort_size=None, seed=0, round_index=3) == range(20)
    assert sample_cohort(POPULATION, cohort_size=20, seed=0, round_index=3) == range(20)


@given(st.integers(1, 19), st.integers(0, 1000), st.integers(0, 1000))
def test_sample_is_distinct_ordered_and_reproducible(
    size: int, seed: int, round_index: int
) -> None:
    cohort = sample_cohort(POPULATION, cohort_size=size, seed=seed, round_index=round_index)
    assert len(set(cohort)) == size
    assert list(cohort) == [client for client in range(POPULATION) if client in cohort]
    again = sample_cohort(POPULATION, cohort_size=size, seed=seed, round_index=round_index)
    assert again == cohort


def test_rounds_and_seeds_draw_different_cohorts() -> None:
    def draw(*, seed: int, round_index: int) -> tuple[int, ...]:
        return tuple(sample_cohort(POPULATION, cohort_size=5, seed=seed, round_index=round_index))

    rounds = {draw(seed=0, round_index=t) for t in range(50)}
    seeds = {draw(seed=s, round_index=0) for s in range(50)}
    assert len(rounds) > 45
    assert len(seeds) > 45


def test_every_client_is_equally_likely() -> None:
    # 2,000 rounds x 5 of 20: each client Binomial(2000, 1/4), mean 500, sd 19.4; 5 sd = 97.
    counts = [0] * POPULATION
    for round_index in range(2000):
        for client in sample_cohort(POPULATION, cohort_size=5, seed=1, round_index=round_index):
            counts[client] += 1
    assert all(abs(count - 500) < 97 for count in counts)


@pytest.mark.parametrize("size", [0, 21])
def test_a_cohort_that_does_not_fit_is_refused(size: int) -> None:
    with pytest.raises(ConfigError, match=rf"cohort\.size\n  got: {size}\n  expected: 1 to 20"):
        sample_cohort(POPULATION, cohort_size=size, seed=0, round_index=0)


@pytest.mark.parametrize("only", ["a", "c"])
def test_a_client_that_is_called_alone_keeps_its_place(only: str) -> None:
    cohorts = Cohorts(population=("a", "b", "c"), cohort_size=2, seed=0, only=only)
    assert [list(cohorts.positions(t)) for t in range(3)] == [["abc".index(only)]] * 3
    assert cohorts.answering(5) == [only]


def test_a_sample_of_a_huge_population_costs_what_the_sample_does() -> None:
    cohort = sample_cohort(10**12, cohort_size=5, seed=0, round_index=0)
    assert len(set(cohort)) == 5
    assert max(cohort) < 10**12
