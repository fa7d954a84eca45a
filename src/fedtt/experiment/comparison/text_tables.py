"""Results as a table of words, which the terminal, Markdown and LaTeX then only set."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from fedtt.attacks import BACKDOOR_SUCCESS
from fedtt.experiment.comparison.cell_results import Status
from fedtt.experiment.comparison.cell_statistics import Group, Reached, Results, Row, Spread

NOTHING = "\N{EN DASH}"
MINUS = "\N{MINUS SIGN}"
UPLINK = "up kB per client and round"


@dataclass(frozen=True, kw_only=True)
class TextTable:
    """One table of a comparison; every row as long as ``header``."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def text_tables(results: Results) -> tuple[TextTable, ...]:
    """One table a setting and option, one row a method; of several of them an overview first."""
    overview = (_overview(results),) if len(results.groups) > 1 else ()
    return overview + tuple(
        TextTable(
            title=_title(results, group),
            header=header(results),
            rows=tuple(
                _cells(
                    row,
                    reference=results.reference,
                    with_reference=results.margin is not None,
                    with_backdoor=results.has_backdoor,
                )
                for row in group.rows
            ),
        )
        for group in results.groups
    )


def _overview(results: Results) -> TextTable:
    """The test scores alone, one column a setting and option."""
    by_method: dict[str, list[Row]] = {}
    for group in results.groups:
        for row in group.rows:
            by_method.setdefault(row.method, []).append(row)
    return TextTable(
        title=f"test {results.score.name}",
        header=("method", UPLINK, *map(results.title, results.groups)),
        rows=tuple(
            (method, _scaled(_uplink(rows), 1e3), *map(_score, rows))
            for method, rows in by_method.items()
        ),
    )


def _uplink(rows: Sequence[Row]) -> float | None:
    """Mean over the settings and options that have any cell done."""
    known = [row.uplink_per_client_round for row in rows if row.uplink_per_client_round is not None]
    return fmean(known) if known else None


def header(results: Results) -> tuple[str, ...]:
    """Names and units of the columns."""
    return (
        "method",
        f"test {results.score.name}",
        *([BACKDOOR_SUCCESS] if results.has_backdoor else []),
        f"Δ to {results.reference}",
        "n",
        "best round",
        UPLINK,
        "total MB",
        *(f"MB to {target:g}" for target in results.targets),
        *_reference_columns(results),
        f"{results.score.name} at equal bytes",
    )


def _reference_columns(results: Results) -> tuple[str, ...]:
    if results.margin is None:
        return ()
    level = f"{results.reference} {MINUS} {results.margin:g}"
    return f"up MB to {level}", f"MB to {level}"


def caption(results: Results) -> str:
    """What the columns mean, in sentences."""
    name = results.score.name
    sentences = [
        f"Test {name} of the global model after the last round (mean over clients), mean ± sample "
        "standard deviation over n seeds.",
        f"Δ: difference to {results.reference} with the same seed, mean ± standard deviation of "
        "the differences.",
        f"Best round: by validation {name}, counted from 1, mean over seeds.",
        "Bytes are lengths of payloads as sent; kB and MB are powers of 1000.",
    ]
    if results.has_backdoor:
        sentences.append(
            f"{BACKDOOR_SUCCESS.capitalize()}: test texts of other classes that get the target's "
            "class once the trigger is in them, mean over clients."
        )
    if results.targets:
        sentences.append(
            "MB to a target: sent in both directions until the validation "
            f"{name} first reached it, mean over the seeds that did (how many, where not all)."
        )
    if results.margin is not None:
        sentences.append(
            f"MB to {results.reference} {MINUS} {results.margin:g}: sent in both directions (up: "
            f"uplink alone) until the validation {name} first reached {results.reference}'s final "
            "one, the mean over its seeds, less that; mean over the seeds that did."
        )
    sentences.append(
        f"At equal bytes: validation {name} after the last round within the uplink bytes given "
        "in the heading."
    )
    return " ".join(sentences)


def significant(value: float) -> str:
    """Three significant digits, without an exponent: ``0.0123``, ``1.20``, ``12.3``, ``1234``."""
    exponent = int(f"{value:.2e}".split("e")[1])
    return f"{value:.{max(0, 2 - exponent)}f}"


def _title(results: Results, group: Group) -> str:
    title = results.title(group)
    if group.budget is None:
        return title
    return f"{title} (equal bytes: {significant(group.budget / 1e3)} kB up)"


def _cells(
    row: Row, *, reference: str, with_reference: bool, with_backdoor: bool
) -> tuple[str, ...]:
    return (
        row.method,
        _score(row),
        *([_backdoor(row)] if with_backdoor else []),
        NOTHING if row.method == reference else _difference(row.difference),
        f"{row.done}" if row.done == row.seeds else f"{row.done}/{row.seeds}",
        NOTHING if row.best_round is None else f"{row.best_round:.1f}",
        _scaled(row.uplink_per_client_round, 1e3),
        _scaled(row.total_bytes, 1e6),
        *(_reached(reached) for reached in row.reached),
        *(_both_reached(row.to_reference) if with_reference else ()),
        _equal_bytes(row),
    )


def _backdoor(row: Row) -> str:
    return NOTHING if row.backdoor is None else _spread(row.backdoor)


def _score(row: Row) -> str:
    notes = [
        f"{count} {status}"
        for status, count in row.statuses.items()
        if status in (Status.DIVERGED, Status.FAILED)
    ]
    notes += [f"{row.collapsed} collapsed"] if row.collapsed else []
    if row.test_score is not None:
        return " ".join([_spread(row.test_score), *(f"({note})" for note in notes)])
    (only, *others) = row.statuses
    return NOTHING if others or only is Status.MISSING else str(only)


def _spread(value: Spread) -> str:
    return f"{value.mean:.3f}" if value.sd is None else f"{value.mean:.3f} ± {value.sd:.3f}"


def _difference(value: Spread | None) -> str:
    if value is None:
        return NOTHING
    sign = MINUS if round(value.mean, 3) < 0 else "+"
    sd = "" if value.sd is None else f" ± {value.sd:.3f}"
    return f"{sign}{abs(value.mean):.3f}{sd}"


def _scaled(value: float | None, unit: float) -> str:
    return NOTHING if value is None else significant(value / unit)


def _both_reached(reached: Reached | None) -> tuple[str, str]:
    """The uplink alone, and both directions."""
    if reached is None:
        return NOTHING, NOTHING
    return _reached(replace(reached, total_bytes=reached.uplink_bytes)), _reached(reached)


def _reached(reached: Reached) -> str:
    if reached.seeds == 0:
        return NOTHING
    if reached.total_bytes is None:
        return f"never (0/{reached.seeds})"
    share = "" if reached.reached == reached.seeds else f" ({reached.reached}/{reached.seeds})"
    return f"{significant(reached.total_bytes / 1e6)}{share}"


def _equal_bytes(row: Row) -> str:
    value = row.equal_bytes_score
    if value is None:
        return NOTHING
    return _spread(value) + ("" if value.n == row.done else f" ({value.n}/{row.done})")
