"""What a comparison reads off its cells: oracles, properties, and arithmetic by hand."""

import math
import statistics
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.experiment.comparisons import CELLS, curve, done, not_done

from fedtt.experiment.comparison import CellResult, Choice, Status, choose, summarize_cells
from fedtt.experiment.comparison.cell_results import best, curve_of, first_reaching, last_within
from fedtt.experiment.comparison.cell_statistics import spread
from fedtt.experiment.comparison.curves import mean_line
from fedtt.metrics import ACCURACY, Score

accuracies = st.lists(st.sampled_from([0.5, 0.6, 0.7, 0.8]), min_size=1, max_size=8)


def record(index: int, accuracy: float | None, up: int, down: int) -> dict:
    validation = None if accuracy is None else {"accuracy": {"mean": accuracy, "north": 0.1}}
    return {"round": index, "validation": validation, "uplink_bytes": up, "downlink_bytes": down}


def test_a_curve_sums_the_bytes_of_rounds_that_were_not_validated() -> None:
    rounds = [record(0, None, 10, 1), record(1, 0.5, 20, 2), record(2, None, 40, 4)]
    (only,) = curve_of(rounds, ACCURACY)
    assert (only.round, only.score) == (2, 0.5)
    assert (only.uplink_bytes, only.downlink_bytes, only.total_bytes) == (30, 3, 33)


@given(accuracies, st.floats(0, 1))
def test_first_reaching_is_the_cheapest_round_at_the_target(values, target) -> None:
    points = curve(values, up=3, down=5)
    hits = [at for at in points if at.score >= target]
    found = first_reaching(points, target)
    assert found == (min(hits, key=lambda at: at.total_bytes) if hits else None)


@given(accuracies, st.integers(0, 40))
def test_last_within_never_exceeds_the_budget_and_the_next_would(values, budget) -> None:
    points = curve(values, up=3, down=5)
    found = last_within(points, budget)
    count = 0 if found is None else found.round
    assert 3 * count <= budget
    assert count == len(values) or 3 * (count + 1) > budget


@given(accuracies)
def test_best_is_the_first_of_the_highest(values) -> None:
    peak = best(curve(values, up=1, down=1))
    assert peak is not None
    assert peak.round == values.index(max(values)) + 1


def test_nothing_validated_has_no_best() -> None:
    assert best(()) is None


@given(st.lists(st.floats(0, 1), min_size=2, max_size=6))
def test_the_spread_is_the_sample_standard_deviation(values) -> None:
    found = spread(values)
    assert found is not None
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    assert math.isclose(found.mean, mean, abs_tol=1e-12)
    assert math.isclose(found.sd or 0.0, math.sqrt(variance), abs_tol=1e-9)


def test_one_value_has_no_spread_and_none_has_no_mean() -> None:
    assert spread([]) is None
    one = spread([0.5])
    assert one is not None
    assert (one.mean, one.sd, one.n) == (0.5, None, 1)


@pytest.fixture
def rows() -> dict:
    results = summarize_cells(CELLS, reference="fedtt", targets=(0.75, 0.9))
    (group,) = results.groups
    assert group.budget == 4 * 2000  # fedtt's four rounds are the cheapest
    return {row.method: row for row in group.rows}


def test_a_row_by_hand(rows: dict) -> None:
    lora = rows["lora_8"]
    assert (lora.test_score.mean, lora.test_score.n) == (pytest.approx(0.80), 2)
    assert lora.test_score.sd == pytest.approx(math.sqrt(2 * 0.01**2 / 1))
    assert lora.best_round == (4 + 2) / 2
    assert lora.uplink_per_client_round == 8000 / 2
    assert lora.total_bytes == 4 * 16000


def test_the_difference_is_taken_seed_by_seed(rows: dict) -> None:
    # .81 - .80 = .01 and .79 - .82 = -.03: mean -.01, sd .02 * sqrt(2). Not the spread of either.
    difference = rows["lora_8"].difference
    assert difference.mean == pytest.approx(-0.01)
    assert difference.sd == pytest.approx(0.02 * math.sqrt(2))
    assert rows["fedtt"].difference is None
    assert (rows["bad"].difference.n, rows["bad"].difference.sd) == (1, None)  # seed 1 diverged
    assert rows["bad"].difference.mean == pytest.approx(0.5 - 0.80)


def test_bytes_to_a_target_count_the_seeds_that_reach_it(rows: dict) -> None:
    at_75, at_90 = rows["fedtt"].reached
    # seed 0 reaches .75 after 3 rounds of 2 + 3 kB; seed 1 never does.
    assert (at_75.reached, at_75.seeds) == (1, 2)
    assert (at_75.total_bytes, at_75.uplink_bytes) == (3 * 5000, 3 * 2000)
    assert (at_90.reached, at_90.total_bytes) == (0, None)
    assert rows["lora_8"].reached[0].total_bytes == 16000  # both in round 1
    assert rows["lora_8"].reached[1].total_bytes == 4 * 16000


def test_accuracy_at_equal_bytes_is_that_of_the_last_round_within(rows: dict) -> None:
    assert rows["fedtt"].equal_bytes_score.mean == pytest.approx((0.78 + 0.7) / 2)
    assert rows["lora_8"].equal_bytes_score.mean == pytest.approx((0.76 + 0.78) / 2)
    assert rows["bad"].equal_bytes_score is None  # its first round is 9 kB


def test_the_budget_is_the_settings_and_may_be_given() -> None:
    cheap = {"test": 0.5, "accuracies": [0.5], "down": 1}
    cells = [
        done("a", 0, up=7, **cheap),
        done("a", 0, up=5, option="other", **cheap),
        done("a", 0, up=9, setting="skewed", **cheap),
        not_done("b", 0, Status.DIVERGED),
    ]
    budgets = {
        (g.setting, g.option): g.budget for g in summarize_cells(cells, reference="a").groups
    }
    assert budgets == {("iid", "plain"): 5, ("iid", "other"): 5, ("skewed", "plain"): 9}
    given_one = summarize_cells(cells, reference="a", budget=6).groups
    assert [group.rows[0].equal_bytes_score is None for group in given_one] == [
        True,
        False,
        True,
    ]


def test_statuses_are_counted(rows: dict) -> None:
    assert (rows["bad"].done, rows["bad"].seeds) == (1, 2)
    assert rows["ugly"].statuses == {Status.DIVERGED: 2}
    assert rows["ugly"].test_score is None


def test_a_line_averages_rounds_that_all_seeds_have() -> None:
    cells = [
        done("a", 0, test=0.5, accuracies=[0.5, 0.7, 0.9], up=10, down=1),
        done("a", 1, test=0.5, accuracies=[0.6, 0.6], up=14, down=1),
        not_done("a", 2, Status.DIVERGED),
    ]
    uplink, mean, low, high = mean_line(cells)
    assert uplink == [12, 24]
    assert mean == pytest.approx([0.55, 0.65])
    assert (low, high) == ([0.5, 0.6], [0.6, 0.7])
    assert mean_line([]) == ([], [], [], [])


def candidate(
    rate: float, accuracy: float, *, up: int = 10, test: float = 0.5, constant: bool = False
) -> CellResult:
    accuracies = [0.99, accuracy]  # the best round must not decide, nor the test split
    point = {"rate": rate}
    run = {"up": up, "down": up, "point": point, "constant": constant}
    return done("m", 1000, test=test, accuracies=accuracies, **run)


def test_the_choice_is_the_best_at_the_end_then_the_cheapest_then_the_first() -> None:
    low, high = candidate(1, 0.7, test=0.9), candidate(2, 0.8, test=0.1)
    assert choose([low, high]) == choose([high, low]) == {"rate": 2}
    cheaper = candidate(3, 0.8, up=9)
    assert choose([low, high, cheaper]) == {"rate": 3}
    assert choose([candidate(4, 0.8), high]) == {"rate": 4}


def test_a_diverged_candidate_is_no_choice_and_a_missing_one_no_complete_grid() -> None:
    good = candidate(1, 0.7)
    assert choose([not_done("m", 1000, Status.DIVERGED), good]) == {"rate": 1}
    assert choose([not_done("m", 1000, Status.DIVERGED)]) is None
    assert choose([good, not_done("m", 1000, Status.MISSING)]) is None
    assert choose([good, not_done("m", 1000, Status.FAILED)]) is None


def test_the_median_is_not_the_mean() -> None:
    """The arithmetic above would not tell them apart with two seeds."""
    cells = [
        done("a", seed, test=test, accuracies=[test], up=1, down=1)
        for seed, test in enumerate([0.1, 0.2, 0.9])
    ]
    (group,) = summarize_cells(cells, reference="a").groups
    assert group.rows[0].test_score is not None
    assert group.rows[0].test_score.mean == pytest.approx(statistics.fmean([0.1, 0.2, 0.9]))


def test_of_a_score_that_should_be_low_the_least_is_best_and_reaches_a_target_from_above() -> None:
    perplexity = Score(name="perplexity", higher_is_better=False)
    rounds = [
        record(index, None, 10, 1) | {"validation": {"perplexity": {"mean": value}}}
        for index, value in enumerate([40.0, 21.0, 19.0, 20.0])
    ]
    curve = curve_of(rounds, perplexity)
    assert best(curve).round == 3
    assert first_reaching(curve, 21.0).round == 2
    assert first_reaching(curve, 18.0) is None


def choice_of(*candidates: CellResult) -> Choice:
    return Choice(point=choose(candidates), cell=CELLS[0].cell, candidates=candidates)


def test_a_collapsed_run_is_never_chosen_whatever_its_accuracy() -> None:
    collapsed, honest = candidate(1, 0.9, constant=True), candidate(2, 0.3)
    assert choose([collapsed, honest]) == {"rate": 2}
    choice = choice_of(collapsed, honest)
    assert [c["collapsed"] for c in choice.record()["candidates"]] == [True, False]


def test_where_every_run_of_a_grid_collapsed_nothing_is_chosen_and_it_says_so() -> None:
    cell = CELLS[0].cell
    for others in ([], [not_done("m", 1000, Status.DIVERGED)]):
        choice = choice_of(candidate(1, 0.9, constant=True), *others)
        assert choice.point is None
        assert choice.without_run(cell).status is Status.COLLAPSED
        assert "every run of the grid gives all examples the same answer" in choice.describe()
    unfinished = choice_of(candidate(1, 0.9, constant=True), not_done("m", 1000, Status.MISSING))
    assert unfinished.without_run(cell).status is Status.MISSING


def test_a_run_is_collapsed_if_the_model_it_ended_with_answers_all_clients_the_same() -> None:
    def validated(*constants: dict[str, float]) -> list[bool]:
        rounds = [
            record(i, 0.5, 1, 1) | {"validation": {"accuracy": {"mean": 0.5}, "constant": values}}
            for i, values in enumerate(constants)
        ]
        return [at.constant for at in curve_of(rounds, ACCURACY)]

    # Two clients, each of one class only, told apart: constant for each, not for all together.
    assert validated({"mean": 1.0, "pooled": 0.0}, {"mean": 0.0, "pooled": 1.0}) == [False, True]
    assert validated({"mean": 1.0}, {"mean": 0.5}) == [True, False]  # where nobody pools
    (before_it_was_noted,) = curve_of([record(0, 0.5, 1, 1)], ACCURACY)
    assert not before_it_was_noted.constant


def test_the_edge_is_of_what_was_tried_and_diverged_runs_count() -> None:
    low, high = candidate(1, 0.7), candidate(2, 0.8)
    assert choice_of(low, high).edges == {"rate": "highest"}
    assert choice_of(low, high).describe() == "rate = 2 (the highest tried)"
    diverged = replace(not_done("m", 1000, Status.DIVERGED), point={"rate": 4})
    bracketed = choice_of(low, high, diverged)
    assert bracketed.edges == {}
    assert bracketed.record()["at_the_edge"] == {}
    assert choice_of(high).edges == {}  # one value has no edge


def test_the_margin_is_below_the_references_last_validation() -> None:
    """The big one ends at 0.75 in the mean, so 0.70 is asked for; bytes are those of round 2."""
    cells = [
        done("big", 0, test=0.8, accuracies=[0.6, 0.8], up=10, down=1),
        done("big", 1, test=0.8, accuracies=[0.71, 0.7], up=10, down=1),
        done("small", 0, test=0.8, accuracies=[0.5, 0.7], up=2, down=3),
        done("small", 1, test=0.8, accuracies=[0.5, 0.69], up=2, down=3),
    ]
    (group,) = summarize_cells(cells, reference="big", margin=0.05).groups
    assert group.reference_target == pytest.approx(0.7)
    big, small = (row.to_reference for row in group.rows)
    assert big is not None
    assert small is not None
    assert (big.reached, big.uplink_bytes, big.total_bytes) == (2, 15, 16.5)
    assert (small.reached, small.seeds) == (1, 2)
    assert (small.uplink_bytes, small.total_bytes) == (4, 10)


def test_of_a_score_where_less_is_better_the_margin_is_above() -> None:
    loss = Score(name="loss", higher_is_better=False)
    cells = [
        replace(cell, score=loss, curve=tuple(replace(at, sign=-1) for at in cell.curve))
        for cell in (done("big", 0, test=0.8, accuracies=[0.9, 0.5], up=10, down=1),)
    ]
    (group,) = summarize_cells(cells, reference="big", margin=0.05).groups
    assert group.reference_target == pytest.approx(0.55)
