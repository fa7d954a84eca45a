"""Series that can be compared share a panel: those of one score, on the same data."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from fedtt.report.blocks import Section
from fedtt.report.run_view import RunView
from fedtt.report.series import Series, group_runs
from fedtt.report.verdict import is_of_noise
from fedtt.report.words import NOTHING

OF_DATA = ("data.", "partition.")
MOST_WORDS = 3  # of a title
Alike = tuple[set[str], list[RunView]]


@dataclass(frozen=True, kw_only=True)
class Panel:
    """Series of the same data, which can be compared; of several panels each has a title."""

    title: str
    series: tuple[Series, ...]


def panels_of(runs: Sequence[RunView]) -> tuple[Panel, ...]:
    """A panel for each score and data, in the order of the runs. The same data has the same
    settings, or the same digests wherever it lies.
    """
    groups: list[Alike] = []
    for run in runs:
        keys, same = _keys(run), [group for group in groups if group[0] & _keys(run)]
        if not same:
            groups.append((keys, [run]))
            continue
        first, *more = same
        first[0].update(keys, *(others for others, _ in more))
        first[1].extend([*(one for _, members in more for one in members), run])
        groups = [group for group in groups if all(group is not other for other in more)]
    members = [group for _, group in groups]
    titles = _titles([group[0] for group in members])
    return tuple(
        Panel(title=title, series=group_runs(group))
        for title, group in zip(titles, members, strict=True)
    )


def answers_of(
    panels: Sequence[Panel], answer: Callable[[Sequence[Series]], Sequence[str]], *, titled: bool
) -> tuple[str, ...]:
    """What is said of every panel; how sure it is, once, at the end."""
    said = [(panel.title, sentence) for panel in panels for sentence in answer(panel.series)]
    if not titled:
        return tuple(sentence for _, sentence in said)
    noise = dict.fromkeys(sentence for _, sentence in said if is_of_noise(sentence))
    kept = (f"{title}: {sentence}" for title, sentence in said if not is_of_noise(sentence))
    return (*kept, *noise)


def titled_sections(sections: Sequence[Section], title: str) -> list[Section]:
    """The sections, named after their panel."""
    return [replace(section, title=f"{title}: {section.title}") for section in sections]


def _keys(run: RunView) -> set[str]:
    score = (run.score.name, run.score.higher_is_better)
    digests = run.data.get("digests") or {}
    splits = sorted((part, digest) for part, digest in digests.items() if part != "base_model")
    return {repr((score, _data(run))), *([repr((score, splits))] if splits else [])}


def _data(run: RunView) -> list[tuple[str, Any]]:
    return sorted((key, value) for key, value in run.settings.items() if key.startswith(OF_DATA))


def _titles(firsts: Sequence[RunView]) -> list[str]:
    if len(firsts) == 1:
        return [""]
    settings = [{"score": run.score.name, **dict(_data(run))} for run in firsts]
    varied = [
        key
        for key in dict.fromkeys(key for one in settings for key in one)
        if len({repr(one.get(key)) for one in settings}) > 1
    ]
    titles = [
        ", ".join(
            f"{key.rsplit('.', 1)[-1]} {one.get(key, NOTHING)}" for key in varied[:MOST_WORDS]
        )
        for one in settings
    ]
    return [
        f"{title} ({number})" if titles.count(title) > 1 else title
        for number, title in enumerate(titles, start=1)
    ]
