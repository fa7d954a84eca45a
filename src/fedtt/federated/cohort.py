"""Which clients take part in which round."""

import random
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from fedtt.errors import ConfigError
from fedtt.seeds import derive_seed


@dataclass(frozen=True, kw_only=True)
class Cohorts:
    """Who is called in which round, a function of the seed and the round alone.

    ``cohort_size`` of the ``population`` are drawn, or everyone where it is None; each of them
    drops out with probability ``dropout_rate``. With ``only``, that client is called in every round
    and nobody else: it is still the one that it is among all (its LoRA rank goes by its place).
    ``draw``, if any, says by itself who is called: what nobody is to foresee is no function of the
    seed. Those ``left_out`` are drawn, and not called.
    """

    population: Sequence[str]
    cohort_size: int | None = None
    dropout_rate: float = 0.0
    seed: int
    only: str | None = None
    draw: Callable[[int], Sequence[int]] | None = None
    left_out: Collection[str] = ()

    @property
    def size(self) -> int:
        """Clients of a round, where nobody is left out."""
        return self.cohort_size or len(self.population)

    def positions(self, round_index: int) -> Sequence[int]:
        """Places in the population, ascending, of those that are called in that round.

        Raises :class:`ConfigError` if the cohort is larger than the population.
        """
        if self.only is not None:
            return (self.population.index(self.only),)
        drawn = self._drawn(round_index)
        if not self.left_out:
            return drawn
        return [place for place in drawn if self.population[place] not in self.left_out]

    def _drawn(self, round_index: int) -> Sequence[int]:
        if self.draw is not None:
            return self.draw(round_index)
        return sample_cohort(
            len(self.population),
            cohort_size=self.cohort_size,
            seed=self.seed,
            round_index=round_index,
        )

    def drops_out(self, client_id: str, round_index: int) -> bool:
        """Whether that client, called in that round, never answers."""
        return drops_out(client_id, rate=self.dropout_rate, seed=self.seed, round_index=round_index)

    def answering(self, round_index: int) -> list[str]:
        """Those that are called in that round and do not drop out."""
        called = (self.population[position] for position in self.positions(round_index))
        return [client_id for client_id in called if not self.drops_out(client_id, round_index)]


def sample_cohort(
    population: int, *, cohort_size: int | None, seed: int, round_index: int
) -> Sequence[int]:
    """Positions, ascending, of this round's clients among so many: everyone, or a uniform sample.

    Sampling is without replacement and depends on ``(seed, round_index)`` alone; its cost is that
    of the cohort, not of the population. Raises :class:`ConfigError` if the cohort is larger than
    the population.
    """
    check_cohort_size(cohort_size, population=population)
    if cohort_size is None or cohort_size == population:
        return range(population)
    stream = random.Random(derive_seed(seed, "cohort", round_index))
    return sorted(stream.sample(range(population), cohort_size))


def check_cohort_size(cohort_size: int | None, *, population: int) -> None:
    """Raise :class:`ConfigError` for a cohort that is larger than the population, or empty."""
    if cohort_size is not None and not 1 <= cohort_size <= population:
        raise ConfigError(
            "the cohort does not fit the population",
            where="cohort.size",
            got=cohort_size,
            expected=f"1 to {population} (the number of clients)",
            fix="leave cohort.size out to have every client in every round",
        )


def drops_out(client_id: str, *, rate: float, seed: int, round_index: int) -> bool:
    """Whether a client that was called in this round never answers: with probability ``rate``."""
    if not rate:
        return False
    return random.Random(derive_seed(seed, "dropout", round_index, client_id)).random() < rate
