"""Client-level differential privacy of a run: DP-FedAvg with a fixed denominator.

McMahan, Ramage, Talwar and Zhang 2018 (arXiv 1710.06963)::

    released = (sum of clipped updates + N(0, (noise multiplier * clipping norm)^2)) / expected

``expected`` is how many clients a round has on average, never how many answered. One value owns the
sample, the weights, the denominator and the noise, which belong together.
"""

import hashlib
import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

from fedtt.federated.aggregate.aggregation import Aggregate
from fedtt.federated.privacy.clipped_sum import ClippedSum
from fedtt.federated.privacy.fixed_point import GRID, add_gaussian, from_grid, gaussian_steps
from fedtt.federated.privacy.keystream import Stream, Streams
from fedtt.federated.privacy.samplings import SAMPLINGS
from fedtt.federated.types import ServerState
from fedtt.params import Params, Structure

# What a state holds: the noise of the whole run, and the clipping norm of its next round.
NOISE, NORM = "noise_multiplier", "clipping_norm"


@dataclass(frozen=True, kw_only=True)
class AdaptiveClipping:
    """The clipping norm follows a quantile of the norms: Andrew et al. 2021 (arXiv 1905.03871).

    ``norm *= exp(-learning_rate * (share of updates within it - quantile))``, where the share is
    estimated with noise of standard deviation ``count_deviation`` on the number within.
    """

    quantile: float
    learning_rate: float
    count_deviation: float

    def next_norm(self, norm: float, share: float) -> float:
        """The norm of the next round. A share beyond 0 and 1 is the noise's."""
        share = min(max(share, 0.0), 1.0)
        return norm * math.exp(-self.learning_rate * (share - self.quantile))

    def noise_left(self, noise_multiplier: float) -> float:
        """The noise multiplier of the updates, so that both releases together have the one given.

        The count of those within, less one half each, changes by one half with a client: noise of
        ``2 * count_deviation`` sensitivities. Of two Gaussian releases ``1 / z^2`` adds up.
        """
        return 1 / math.sqrt(noise_multiplier**-2 - (2 * self.count_deviation) ** -2)


@dataclass(frozen=True, kw_only=True)
class ClientPrivacy:
    """Who is drawn, and what becomes of their updates; ``streams`` are the run's secret ones."""

    sampling: str
    population: int
    expected: int
    streams: Streams
    adaptive: AdaptiveClipping | None = None

    def positions(self, round_index: int) -> Sequence[int]:
        """Places in the population, ascending, of those that are called in that round."""
        stream = self.streams("cohort", round_index)
        return SAMPLINGS[self.sampling].draw(stream, self.population, self.expected)

    def mean(
        self, state: ServerState, *, structure: Structure, heard: Collection[str]
    ) -> "PrivateMean":
        """What the round's updates, of that ``structure``, go into one by one.

        ``heard`` are those who answered: filled meanwhile, and read at the end.
        """
        return PrivateMean(
            privacy=self,
            state=state,
            structure=structure,
            heard=heard,
            gathered=ClippedSum(clipping_norm=state.privacy[NORM]),
        )


@dataclass(frozen=True, kw_only=True)
class PrivateMean:
    """A round's mean, which comes out with noise. Every client counts the same."""

    linear: ClassVar[bool] = True
    fewest: ClassVar[int] = 0  # that nobody answered is hidden as well
    privacy: ClientPrivacy
    state: ServerState
    structure: Structure
    heard: Collection[str]
    gathered: ClippedSum

    def include(self, delta: Params, *, start: Params, weight: float) -> "PrivateMean":  # noqa: ARG002
        """The mean with one more client in it; ``weight`` does not count."""
        return replace(self, gathered=self.gathered.include(delta))

    def result(self, *, start: Params) -> Aggregate:  # noqa: ARG002
        """The noisy mean, and the clipping norm of the next round."""
        noise_multiplier, adaptive = self.state.privacy[NOISE], self.privacy.adaptive
        if adaptive is not None:
            noise_multiplier = adaptive.noise_left(noise_multiplier)
        noisy = add_gaussian(
            self.gathered.total,
            structure=self.structure,
            stream=self._stream("noise"),
            deviation=noise_multiplier * GRID,
        )
        norm = self.gathered.clipping_norm
        step = norm / GRID / self.privacy.expected
        if adaptive is not None:
            norm = adaptive.next_norm(norm, self._share_within(adaptive))
        return Aggregate(
            delta=from_grid(noisy, step=step, structure=self.structure),
            privacy={**self.state.privacy, NORM: norm},
        )

    def _share_within(self, adaptive: AdaptiveClipping) -> float:
        """The noisy share of updates within the norm; of who does not answer, one half is."""
        # In halves of a client, as the balance is.
        deviation = 2 * adaptive.count_deviation * GRID
        noise = int(gaussian_steps(self._stream("count"), 1, deviation=deviation)[0])
        return 0.5 + (self.gathered.balance * GRID + noise) / GRID / 2 / self.privacy.expected

    def _stream(self, purpose: str) -> Stream:
        """Of the round and those who were heard.

        A round that is run again from an older copy of the state, with other clients, has other
        noise: the difference of both outcomes does not tell theirs.
        """
        names = hashlib.sha256("\n".join(sorted(self.heard)).encode()).hexdigest()
        return self.privacy.streams(purpose, self.state.next_round, names)
