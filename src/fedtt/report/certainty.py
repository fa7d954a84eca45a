"""How far a difference between two scores may be chance.

A test set of ``n`` texts tells an accuracy to about ``1 / sqrt(n)``. The interval of a difference
of two accuracies is that of Agresti and Caffo (2000, The American Statistician 54): with one right
and one wrong answer added to each, which holds for small ``n`` and for 0 and 1, too. It takes the
two as measured on different texts; here both saw the same ones, so it is rather too wide. What
another seed would change is known of several seeds alone: Student's t, of their differences. Both
are added as independent, and the part of the test sets does not shrink with the number of seeds,
which share them.
"""

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from fedtt.report.run_view import RunView, Scores

NORMAL = 1.959963984540054  # the 97.5 % quantile


@dataclass(frozen=True, kw_only=True)
class Difference:
    """``mean`` of the differences, positive where the first is better, and how far it may be off.

    ``half_width`` of the 95 % interval is None where nothing tells.
    """

    mean: float
    half_width: float | None
    seeds: int

    @property
    def beyond_noise(self) -> bool | None:
        """Whether the interval leaves out 0; None without one."""
        return None if self.half_width is None else abs(self.mean) > self.half_width

    @property
    def low(self) -> float:
        """The lower end, or the mean itself."""
        return self.mean - (self.half_width or 0.0)

    @property
    def high(self) -> float:
        """The upper end, or the mean itself."""
        return self.mean + (self.half_width or 0.0)


def variance_of_difference(first: float, second: float, n: int) -> float:
    """Of two accuracies, each of ``n`` texts, one right and one wrong answer added to each."""
    smoothed = ((first * n + 1) / (n + 2), (second * n + 1) / (n + 2))
    return sum(p * (1 - p) / (n + 2) for p in smoothed)


def half_width(*, test_variance: float | None, by_seed: Sequence[float]) -> float | None:
    """Of the 95 % interval of the mean of the seeds' differences."""
    parts = [] if test_variance is None else [NORMAL**2 * test_variance]
    if len(by_seed) > 1:
        spread = statistics.stdev(by_seed) / math.sqrt(len(by_seed))
        parts.append((student(len(by_seed) - 1) * spread) ** 2)
    return math.sqrt(sum(parts)) if parts else None


def student(freedom: int) -> float:
    """The 97.5 % quantile of Student's t."""
    from scipy.special import stdtrit

    return float(stdtrit(freedom, 0.975))


def client_differences(run: RunView, other: str) -> dict[str, Difference]:
    """Of every client that has both: the federated model less the ``other`` (alone, before)."""
    federated, against = run.measured("test") or {}, run.measured(other) or {}
    return {
        client: Difference(
            mean=_sign(run) * (mine - theirs),
            half_width=None
            if (variance := _variance(run, client, mine, theirs)) is None
            else NORMAL * math.sqrt(variance),
            seeds=1,
        )
        for client, mine, theirs in pairs(federated, against)
    }


def pairs(first: Scores, second: Scores) -> list[tuple[str, float, float]]:
    """Client, its value in both. A test set for all of them together stands for every client."""
    if len(first) == 1 and not first.keys() & second.keys():
        (common,) = first.values()
        return [(client, common, value) for client, value in second.items()]
    return [(c, value, second[c]) for c, value in first.items() if c in second]


def mean_difference(
    runs: Sequence[RunView], others: Mapping[int, Scores | None]
) -> Difference | None:
    """The mean over clients and seeds of the federated score less ``others`` of the same seed.

    None where no seed has both.
    """
    by_seed, variances = [], []
    for run in runs:
        both = pairs(run.measured("test") or {}, others.get(run.seed) or {})
        if not both:
            continue
        by_seed.append(_sign(run) * statistics.fmean(mine - theirs for _, mine, theirs in both))
        variances.append(_variance_of_mean(run, both))
    if not by_seed:
        return None
    known = [value for value in variances if value is not None]
    return Difference(
        mean=statistics.fmean(by_seed),
        half_width=half_width(
            test_variance=statistics.fmean(known) if len(known) == len(variances) else None,
            by_seed=by_seed,
        ),
        seeds=len(by_seed),
    )


def _variance_of_mean(run: RunView, both: list[tuple[str, float, float]]) -> float | None:
    variances = [_variance(run, client, mine, theirs) for client, mine, theirs in both]
    known = [value for value in variances if value is not None]
    if len(known) < len(variances):
        return None
    if _shared_test(run, both[0][0]) is not None:  # one test set: its chance is the same for all
        return statistics.fmean(known)
    return sum(known) / len(known) ** 2


def _variance(run: RunView, client: str, mine: float, theirs: float) -> float | None:
    """None where the score is no share of the texts, or their number is not known."""
    own = run.counts.get(client, {}).get("test") or _shared_test(run, client)
    if run.score.name != "accuracy" or not own:
        return None
    return variance_of_difference(mine, theirs, own)


def _shared_test(run: RunView, client: str) -> int | None:
    """The size of a test set that stands for all clients."""
    tested = {name: sizes["test"] for name, sizes in run.counts.items() if sizes.get("test")}
    return next(iter(tested.values())) if len(tested) == 1 and client not in tested else None


def _sign(run: RunView) -> int:
    return 1 if run.score.higher_is_better else -1
