"""The answer: whose sign, whose noise, and how sure."""

import math
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.report.made_runs import made_run, record

from fedtt.config import RunConfig
from fedtt.report.certainty import half_width, student, variance_of_difference
from fedtt.report.run_view import view_run
from fedtt.report.series import Series, thin
from fedtt.report.verdict import answer_of, standing_of

MakeConfig = Callable[..., RunConfig]


def test_the_interval_holds_what_it_promises() -> None:
    """Of 4,000 pairs of test sets, 95 % of the intervals hold the true difference, or more."""
    stream = np.random.default_rng(0)
    for first, second, n in ((0.85, 0.8, 60), (0.97, 0.9, 30), (0.5, 0.5, 200)):
        a, b = (stream.binomial(n, p, size=4000) / n for p in (first, second))
        widths = [
            half_width(test_variance=variance_of_difference(x, y, n), by_seed=[0.0])
            for x, y in zip(a, b, strict=True)
        ]
        held = np.abs(a - b - (first - second)) <= np.array(widths)
        assert 0.94 <= held.mean() <= 0.99


def test_the_variance_is_agresti_and_caffo_s() -> None:
    # 8 of 10 and 10 of 10: (9/12 * 3/12 + 11/12 * 1/12) / 12
    assert variance_of_difference(0.8, 1.0, 10) == pytest.approx((27 / 144 + 11 / 144) / 12)


def test_seeds_count_by_student() -> None:
    assert student(2) == pytest.approx(4.302653, abs=1e-6)
    spread = half_width(test_variance=None, by_seed=[0.0, 0.1, 0.2])
    assert spread == pytest.approx(4.302653 * 0.1 / math.sqrt(3))
    both = half_width(test_variance=0.01, by_seed=[0.0, 0.1, 0.2])
    assert both == pytest.approx(math.hypot(spread, 1.959964 * 0.1))
    assert half_width(test_variance=None, by_seed=[0.3]) is None


def series(make: MakeConfig, place: Path, name: str, **run: object) -> Series:
    seeds = run.pop("seeds", [0])
    paths = [
        made_run(
            place / f"{name}{seed}",
            make(seed=seed),
            rounds=[record(0, clients=["north", "south"])],
            sizes={"north": 400, "south": 400},
            **{k: v[i] if isinstance(v, list) else v for k, v in run.items()},
        )
        for i, seed in enumerate(seeds)
    ]
    return Series(name=name, runs=tuple(view_run(path) for path in paths))


def both(north: float, south: float) -> dict[str, float]:
    return {"north": north, "south": south}


@pytest.mark.parametrize(
    ("alone", "said"),
    [
        (both(0.5, 0.6), "Beyond noise, it is better than each client trained alone (0.550), "
         "by +0.250 in the mean"),
        (both(0.79, 0.8), "Within noise, it is neither better nor worse"),
        (both(0.95, 0.9), "Beyond noise, it is worse"),
    ],
)  # fmt: skip
def test_better_worse_or_neither(
    alone: dict[str, float], said: str, make_config: MakeConfig, tmp_path: Path
) -> None:
    one = series(make_config, tmp_path, "one", test=both(0.8, 0.8), alone=alone)
    assert said in " ".join(answer_of(one))


def test_for_whom(make_config: MakeConfig, tmp_path: Path) -> None:
    one = series(make_config, tmp_path, "one", test=both(0.8, 0.8), alone=both(0.6, 0.81))
    said = " ".join(answer_of(one))
    assert "better for 1 of 2 clients, beyond noise for 1 (north by +0.200)" in said
    assert "worse for 1 of 2 clients, beyond noise for none" in said
    assert "no training was not measured" in said


def test_less_is_better_where_it_is(make_config: MakeConfig, tmp_path: Path) -> None:
    score = {"score": {"name": "accuracy", "higher_is_better": False}}
    one = series(make_config, tmp_path, "one", test=both(0.8, 0.8), alone=both(0.5, 0.5), **score)
    assert "Beyond noise, it is worse" in " ".join(answer_of(one))


def test_several_against_each_other(make_config: MakeConfig, tmp_path: Path) -> None:
    tests = {
        "best": [both(0.90, 0.90), both(0.91, 0.91), both(0.92, 0.92)],
        "close": [both(0.90, 0.90), both(0.90, 0.91), both(0.91, 0.91)],
        "far": [both(0.50, 0.50), both(0.51, 0.51), both(0.52, 0.52)],
    }
    panel = [
        series(make_config, tmp_path, name, test=values, seeds=[0, 1, 2])
        for name, values in tests.items()
    ]
    said = standing_of(panel)
    assert said[0] == (
        "Best test accuracy: best, 0.910 ± 0.010 (mean ± standard deviation over 3 seeds)."
    )
    assert said[1].startswith("Within noise of it: close.")
    assert said[2] == "Worse beyond noise: far (by 0.400)."


def test_of_several_the_one_that_is_measured_is_told(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    done = series(make_config, tmp_path, "done", test=both(0.8, 0.8))
    begun = series(make_config, tmp_path, "begun", ended=False)
    (said,) = standing_of([done, begun])
    assert said.startswith("Test accuracy of done: 0.800. No other is measured yet")


def test_sizes_of_test_sets_are_told_of_accuracy_alone(
    make_config: MakeConfig, tmp_path: Path
) -> None:
    loss = {"score": {"name": "loss", "higher_is_better": False}}
    panel = [
        series(make_config, tmp_path, name, test=both(0.8, value), **loss)
        for name, value in (("one", 0.7), ("other", 0.9))
    ]
    for one in panel:
        for run in one.runs:
            run.summary["test"]["loss"] = {"mean": 0.5, "north": 0.5, "south": 0.5}
    assert standing_of(panel)[-1].startswith("No interval: what chance does to loss")


@given(st.integers(0, 300), st.integers(2, 40))
def test_thinned_values_keep_their_ends_and_their_order(count: int, most: int) -> None:
    kept = thin(range(count), most=most)
    assert len(kept) == min(count, most)
    assert kept == sorted(set(kept))
    assert not count or (kept[0], kept[-1]) == (0, count - 1)
