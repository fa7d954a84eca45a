"""The answer, in words: is the federated model better, for whom, by how much, and beyond noise."""

import statistics
from collections.abc import Mapping, Sequence

from fedtt.report.certainty import Difference, client_differences, mean_difference
from fedtt.report.run_view import RunView, Scores
from fedtt.report.series import Series
from fedtt.report.words import counted, listed, number, signed

HOW_SURE = (
    "Noise: 95 % intervals, from the sizes of the test sets as if the two models had seen "
    "different texts (they saw the same ones, so the truth is rather surer), and from the spread "
    "over seeds where there are several."
)
ONE_SEED = "This is one seed: what another seed would change is not in the intervals."
MANY_CLIENTS = (
    "Of twenty clients without any difference, one would seem to have one: read single clients "
    "with care."
)
OTHERS = {
    "alone": "than each client trained alone",
    "before": "than no training",
}
NOT_MEASURED = {
    "alone": "Whether it is better than each client trained alone was not measured "
    "(evaluation.alone = true measures it{why}).",
    "before": "Whether it is better than no training was not measured "
    "(evaluation.before = true measures it).",
}


def answer_of(series: Series) -> tuple[str, ...]:
    """What a series of runs says of the federated model, sentence by sentence."""
    runs = series.runs
    first, ended = runs[0], [run for run in runs if run.measured("test")]
    if not ended:
        return (*_unmeasured(first), *_before(series))
    name = first.score.name
    values = [value for run in ended if (value := run.mean("test")) is not None]
    sentences = [
        f"The federated model's test {name} is {_spread(values)}, {_over_whom(ended[0])}"
        f"{_over_seeds(len(values))}."
    ]
    for what in OTHERS:
        sentences += _against(ended, what)
    if any(run.measured(what) for run in ended for what in OTHERS):
        clients = max(len(run.measured("alone") or {}) for run in ended)
        sentences += [HOW_SURE if name == "accuracy" else _no_interval(name, len(values))]
        sentences += [ONE_SEED] if len(values) == 1 else []
        sentences += [MANY_CLIENTS] if clients >= 10 else []
    return tuple(sentences)


def standing_of(panel: Sequence[Series]) -> tuple[str, ...]:
    """How several series stand to one another: the best, and what cannot be told from it."""
    scored = [(one, values) for one in panel if (values := _test_means(one))]
    if not scored:
        return ("None of the runs has been measured on the test split.",)
    if len(scored) == 1:
        ((one, values),) = scored
        return (
            f"Test {one.runs[0].score.name} of {one.name}: {_spread(values)}"
            f"{_over_seeds(len(values))}. No other is measured yet, to compare it with.",
        )
    sign = 1 if scored[0][0].runs[0].score.higher_is_better else -1
    ranked = sorted(scored, key=lambda pair: -sign * statistics.fmean(pair[1]))
    best, best_values = ranked[0]
    name = best.runs[0].score.name
    sentences = [
        f"Best test {name}: {best.name}, {_spread(best_values)}{_over_seeds(len(best_values))}."
    ]
    behind = [(one, difference_of(best, one)) for one, _ in ranked[1:]]
    close = [one for one, gap in behind if gap is not None and gap.beyond_noise is False]
    worse = [(one, gap) for one, gap in behind if gap is not None and gap.beyond_noise]
    unknown = [one for one, gap in behind if gap is None or gap.beyond_noise is None]
    if close:
        cheapest = min([best, *close], key=_uplink)
        sentences.append(
            f"Within noise of it: {listed((one.name for one in close), most=12)}. Among these and "
            f"the best, {cheapest.name} sends the least."
        )
    if worse:
        told = (f"{one.name} (by {number(gap.mean)})" for one, gap in worse)
        sentences.append(f"Worse beyond noise: {listed(told, most=12)}.")
    if unknown:
        sentences.append(
            f"Not to be told from it or below it: {listed((one.name for one in unknown), most=12)} "
            "(no seed in common, or nothing that an interval could be made of)."
        )
    seeds = max(len(values) for _, values in scored)
    return (*sentences, HOW_SURE if name == "accuracy" else _no_interval(name, seeds))


def is_of_noise(sentence: str) -> bool:
    """Whether it says how sure the others are, which is once enough."""
    return sentence.startswith(("Noise: ", "No interval: "))


def difference_of(one: Series, other: Series) -> Difference | None:
    """The first's test score less the other's, seed by seed; positive where the first is better."""
    against = {run.seed: run.measured("test") for run in other.runs}
    return mean_difference(one.runs, against)


def _against(ended: Sequence[RunView], what: str) -> list[str]:
    others: Mapping[int, Scores | None] = {run.seed: run.measured(what) for run in ended}
    whole = mean_difference(ended, others)
    if whole is None:
        private = ended[0].summary is not None and (
            ended[0].summary.get("privacy") or ended[0].summary.get("example_privacy")
        )
        why = "; not of a private run" if private else ""
        return [NOT_MEASURED[what].format(why=why)]
    theirs = [value for run in ended if (value := run.mean(what)) is not None]
    sentences = [
        f"{_judged(whole)} {OTHERS[what]} ({_spread(theirs)}), by {signed(whole.mean)} in the mean"
        f"{_interval(whole)}."
    ]
    if len(ended) == 1:
        sentences += _for_whom(client_differences(ended[0], what))
    else:
        sentences += _for_whom_over_seeds(ended, what)
    return sentences


def _judged(gap: Difference) -> str:
    if gap.beyond_noise is None:
        return f"It is {'better' if gap.mean > 0 else 'worse' if gap.mean < 0 else 'no better'}"
    if not gap.beyond_noise:
        return "Within noise, it is neither better nor worse"
    return f"Beyond noise, it is {'better' if gap.mean > 0 else 'worse'}"


def _interval(gap: Difference) -> str:
    return "" if gap.half_width is None else f" (95 %: {signed(gap.low)} to {signed(gap.high)})"


def _over_whom(run: RunView) -> str:
    tested = len(run.measured("test") or {})
    return "of one test set" if tested == 1 else f"the mean over {counted(tested, 'client')}"


def _for_whom(gaps: Mapping[str, Difference]) -> list[str]:
    if len(gaps) < 2:
        return []
    kinds = {
        "better": [client for client, gap in gaps.items() if gap.mean > 0],
        "worse": [client for client, gap in gaps.items() if gap.mean < 0],
    }
    told = []
    for word, clients in kinds.items():
        sure = [client for client in clients if gaps[client].beyond_noise]
        if not clients:
            continue
        ranked = sorted(sure, key=lambda client: -abs(gaps[client].mean))
        names = listed(f"{client} by {signed(gaps[client].mean)}" for client in ranked)
        known = all(gaps[client].beyond_noise is not None for client in clients)
        beyond = f", beyond noise for {len(sure) or 'none'}{f' ({names})' if sure else ''}"
        told.append(f"{word} for {len(clients)} of {len(gaps)} clients{beyond if known else ''}")
    return [f"It is {' and '.join(told)}."] if told else []


def _for_whom_over_seeds(ended: Sequence[RunView], what: str) -> list[str]:
    by_client = gaps_over_seeds(ended, what)
    means = {client: statistics.fmean(gaps) for client, gaps in by_client.items()}
    always = [c for c, gaps in by_client.items() if all(gap > 0 for gap in gaps)]
    never = [c for c, gaps in by_client.items() if all(gap < 0 for gap in gaps)]
    if len(means) < 2:
        return []
    told = [
        f"{word} in every seed for {len(clients)} of {len(means)} clients "
        f"({listed(_by(clients, means))})"
        for word, clients in (("better", always), ("worse", never))
        if clients
    ]
    return [f"It is {' and '.join(told)}."] if told else ["It is for no client so in every seed."]


def gaps_over_seeds(runs: Sequence[RunView], what: str) -> dict[str, list[float]]:
    """Client -> the federated model's gain over ``what``, a value a seed that has both."""
    found: dict[str, list[float]] = {}
    for run in runs:
        for client, gap in client_differences(run, what).items():
            found.setdefault(client, []).append(gap.mean)
    return found


def _by(clients: Sequence[str], means: Mapping[str, float]) -> list[str]:
    ranked = sorted(clients, key=lambda client: -abs(means[client]))
    return [f"{client} by {signed(means[client])}" for client in ranked]


def _unmeasured(run: RunView) -> list[str]:
    if run.summary is not None:
        return [
            "The test split was not looked at (evaluation.test = false): this run does not say "
            "whether the federated model is better than each client alone, or than no training."
        ]
    return [
        f"The run has not ended: {run.rounds.count} of {run.planned_rounds} rounds are done, and "
        "the test split is looked at last, so there is no answer yet. "
        f"{_last_validation(run)}"
    ]


def _last_validation(run: RunView) -> str:
    curve = run.rounds.validation.get(run.score.name)
    if curve is None or curve.last is None:
        return "Nothing has been measured on validation data."
    last = curve.last
    return f"Validation {run.score.name} after round {last.index + 1}: {number(last.value)}."


def _before(series: Series) -> list[str]:
    before = [value for run in series.runs if (value := run.mean("before")) is not None]
    if not before:
        return []
    return [f"Before training the test {series.runs[0].score.name} was {_spread(before)}."]


def _no_interval(name: str, seeds: int) -> str:
    if seeds > 1:
        return (
            f"Noise: of {name}, the spread over seeds alone is known, not that of the test texts."
        )
    return (
        f"No interval: what chance does to {name} cannot be told from the size of a test set, "
        "and there is one seed."
    )


def _test_means(series: Series) -> list[float]:
    return [value for run in series.runs if (value := run.mean("test")) is not None]


def _uplink(series: Series) -> float:
    return statistics.fmean(run.rounds.uplink_bytes for run in series.runs)


def _spread(values: Sequence[float]) -> str:
    if len(values) < 2:
        return number(values[0])
    return f"{number(statistics.fmean(values))} ± {statistics.stdev(values):.3f}"


def _over_seeds(count: int) -> str:
    return "" if count == 1 else f" (mean ± standard deviation over {count} seeds)"
