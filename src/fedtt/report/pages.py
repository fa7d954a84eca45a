"""A page of runs: the answer, then everything that it rests on."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from fedtt.report.blocks import Look, Page, Section, Table
from fedtt.report.client_sections import clients_section, data_section, trained_section
from fedtt.report.panels import Panel, answers_of, panels_of, titled_sections
from fedtt.report.run_sections import (
    bytes_section,
    dropped_lines,
    privacy_section,
    progress_section,
    timing_section,
)
from fedtt.report.run_view import RunView, view_run
from fedtt.report.series import MOST_SERIES, Series, latest_of_seeds, looks_of
from fedtt.report.verdict import answer_of, standing_of
from fedtt.report.words import NOTHING, counted, listed, number

MOST_NOTES = 100
WAYS = ("up", "down")


def page_of_runs(paths: Sequence[Path]) -> Page:
    """The page of one run, or of several, those that differ in the seed alone taken together.

    Raises :class:`~fedtt.errors.RunError` for what is no run.
    """
    return page_of_views([view_run(path) for path in paths])


def page_of_views(views: Sequence[RunView], notes: Sequence[str] = ()) -> Page:
    """The page of runs that are read already; ``notes`` is what else is to be said."""
    runs, repeated = latest_of_seeds(views)
    whole = panels_of(runs)
    panels = [replace(panel, series=panel.series[:MOST_SERIES]) for panel in whole]
    cut = [one.name for panel in whole for one in panel.series[MOST_SERIES:]]
    left = [*notes, *repeated, *(f"{name} is not shown: there are too many." for name in cut)]
    first, several = runs[0], len(panels) > 1
    series = [one for panel in panels for one in panel.series]
    title = first.name if len(runs) == 1 else f"{counted(len(runs), 'run')}"
    subtitle = (
        f"{first.settings.get('method.name')} on {_base(first)}, seed {first.seed}, "
        f"{first.rounds.count} of {first.planned_rounds} rounds"
        if len(runs) == 1
        else f"{counted(len(series) + len(cut), 'configuration')}, "
        f"{counted(len(runs), 'run')} in all"
    )
    looks, sections = looks_in(panels), []
    for index, panel in enumerate(panels):
        of_panel = panel_sections(panel, looks, key=f"runs{index}" if several else "runs")
        sections += titled_sections(of_panel, panel.title) if several else of_panel
    return Page(
        title=title,
        subtitle=subtitle,
        answer=answers_of(panels, _answer, titled=several),
        sections=(*sections, *common_sections(series, left)),
        looks=looks if len(looks) > 1 else (),
    )


def _answer(series: Sequence[Series]) -> Sequence[str]:
    return answer_of(series[0]) if len(series) == 1 else standing_of(series)


def panel_sections(panel: Panel, looks: Sequence[Look], *, key: str) -> list[Section]:
    """Everything that is shown of some series of the same data, facts of the machine excepted."""
    ways = looks_of(WAYS)
    alone = len(panel.series) == 1
    each = [(one, f"{key}-{number}") for number, one in enumerate(panel.series)]
    return [
        progress_section(panel.series, looks, key=key),
        *(clients_section(one, key=k) for one, k in each if alone),
        *([] if alone else [_clients_of_all(panel.series, key=key)]),
        data_section(panel.series[0].runs[0], key=key),
        bytes_section(panel.series, ways if alone else looks, key=key),
        *(trained_section(one.runs[0], key=k) for one, k in each if alone),
        timing_section(panel.series, looks, key=key),
        privacy_section(panel.series, looks, key=key),
    ]


def common_sections(series: Sequence[Series], more: Sequence[str] = ()) -> list[Section]:
    """Configuration, environment and notes."""
    runs = [one.runs[0] for one in series]
    return [_configuration(series), _environment(runs[0]), _notes(series, more)]


def looks_in(panels: Sequence[Panel]) -> tuple[Look, ...]:
    """The look of every series, the same in all panels."""
    return looks_of(dict.fromkeys(one.name for panel in panels for one in panel.series))


def _clients_of_all(panel: Sequence[Series], *, key: str) -> Section:
    """Of several series the spread over clients, and what each says against training alone."""
    rows = []
    for one in panel:
        values = [v for run in one.runs for v in (run.measured("test") or {}).values()]
        mean = sum(values) / len(values) if values else None
        low, high = (min(values), max(values)) if values else (None, None)
        rows.append((one.name, str(len(one.runs)), number(mean), number(low), number(high)))
    name = panel[0].runs[0].score.name
    said: dict[str, list[str]] = {}
    for one in panel:
        for answer in answer_of(one)[1:3]:
            said.setdefault(answer, []).append(one.name)
    lines = tuple(
        f"{'All' if len(names) == len(panel) else listed(names, most=8)}: {answer}"
        for answer, names in said.items()
    )
    header = ("run", "seeds", "mean", "worst client", "best client")
    table = Table(caption=f"Test {name} over clients and seeds", header=header, rows=tuple(rows))
    return Section(key=f"{key}-clients", title="Results by client", tables=(table,), lines=lines)


def _configuration(series: Sequence[Series]) -> Section:
    settings = [one.runs[0].settings for one in series]
    keys = list(dict.fromkeys(key for one in settings for key in one))
    header: tuple[str, ...] = ("key", "value")
    rows: list[tuple[str, ...]]
    if len(series) == 1:
        rows = [(key, str(settings[0][key])) for key in keys]
    else:
        varied = [key for key in keys if len({repr(one.get(key)) for one in settings}) > 1]
        header = ("key", *(one.name for one in series))
        rows = [
            (key, *(str(one.get(key, NOTHING)) for one in settings))
            for key in varied
            if key != "seed"
        ]
    table = Table(
        caption="Settings" if len(series) == 1 else "Settings in which the runs differ",
        header=header,
        rows=tuple(rows),
    )
    seeds = sorted({run.seed for one in series for run in one.runs})
    return Section(
        key="configuration",
        title="Configuration",
        sentences=(f"Seeds: {', '.join(map(str, seeds[:50]))}.",),
        tables=(table,),
    )


def _environment(run: RunView) -> Section:
    found = (run.summary or {}).get("environment", {})
    rows = tuple((str(key), str(value)) for key, value in found.items())
    return Section(
        key="environment",
        title="Environment",
        sentences=() if rows else ("Kept when a run has ended.",),
        tables=(Table(caption="Versions and machine", header=("what", "value"), rows=rows),)
        if rows
        else (),
    )


def _notes(series: Sequence[Series], more: Sequence[str]) -> Section:
    notes = [note for one in series for run in one.runs for note in run.notes]
    attacks = [
        f"{one.name}: a simulated attack ({attack.get('kind')}) by "
        f"{counted(len(attack.get('clients', ())), 'client')}."
        for one in series
        if (attack := (one.runs[0].summary or {}).get("attack"))
    ]
    lines = list(dict.fromkeys([*more, *attacks, *dropped_lines(series), *notes]))
    left = len(lines) - MOST_NOTES
    return Section(
        key="notes",
        title="Notes",
        sentences=("Left out, cut, or kept together:",) if lines else ("There are none.",),
        lines=(*lines[:MOST_NOTES], *([f"{left} more are in summary.json."] if left > 0 else [])),
    )


def _base(run: RunView) -> str:
    return Path(str(run.settings.get("model.name"))).name
