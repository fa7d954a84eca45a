"""A page of a comparison: how its methods stand in each setting, then everything below."""

from pathlib import Path

from fedtt.experiment.comparison.cell_statistics import Group
from fedtt.experiment.comparison.layout import cell_path
from fedtt.experiment.comparison.read_comparison import SavedComparison, read_comparison
from fedtt.experiment.comparison.text_tables import TextTable, caption, text_tables
from fedtt.report.blocks import Page, Section, Table
from fedtt.report.charts import ends_of, interval_chart
from fedtt.report.pages import common_sections, looks_in, panel_sections
from fedtt.report.panels import Panel, answers_of, titled_sections
from fedtt.report.run_view import view_run
from fedtt.report.series import MOST_SERIES, Series
from fedtt.report.verdict import difference_of, standing_of
from fedtt.report.words import counted
from fedtt.run_place import is_run


def page_of_comparison(path: Path) -> Page:
    """The page of a comparison, as far as it has come. Raises :class:`RunError`."""
    saved = read_comparison(path)
    results = saved.results
    panels = [
        Panel(title=results.title(group), series=_series(path, group)) for group in results.groups
    ]
    shown = [(number, panel) for number, panel in enumerate(panels) if panel.series]
    titled, answered = len(panels) > 1, [panel for _, panel in shown]
    looks = looks_in(answered)
    done = sum(cell.done for cell in results.cells)
    sections = [_tables(saved)]
    for number, panel in shown:
        key = f"group{number}"
        own = [
            _differences(panel, results.reference, key=key),
            *panel_sections(panel, looks, key=key),
        ]
        sections += titled_sections(own, panel.title) if titled else own
    everything = [one for _, panel in shown for one in panel.series]
    return Page(
        title=path.resolve().name,
        subtitle=f"a comparison: {done} of {counted(len(results.cells), 'run')} done, "
        f"{counted(len(panels), 'setting')}, against {results.reference}",
        answer=_unless_nothing(answers_of(answered, standing_of, titled=titled)),
        sections=(*sections, *(common_sections(everything) if everything else ())),
        looks=looks if len(looks) > 1 else (),
    )


def _series(out: Path, group: Group) -> tuple[Series, ...]:
    found: dict[str, list[Path]] = {}
    for cell in group.cells:
        place = cell_path(out, cell.cell)
        if cell.done and is_run(place):
            found.setdefault(cell.cell.method, []).append(place)
    return tuple(
        Series(name=method, runs=tuple(view_run(place) for place in places))
        for method, places in list(found.items())[:MOST_SERIES]
    )


def _differences(panel: Panel, reference: str, *, key: str) -> Section:
    against = next((one for one in panel.series if one.name == reference), None)
    gaps = [
        (one.name, gap)
        for one in panel.series
        if against is not None
        and one is not against
        and (gap := difference_of(one, against)) is not None
    ]
    title = f"Difference to {reference}"
    charts = (
        (
            interval_chart(
                f"{key}-difference",
                title,
                rows=[(name, gap.mean, gap.low, gap.high) for name, gap in gaps],
                x="difference in the test score, positive is better",
                ends=ends_of([gap.half_width is not None for _, gap in gaps]),
            ),
        )
        if gaps
        else ()
    )
    told = () if charts else (f"No run of {reference} is done with which to compare.",)
    return Section(key=f"{key}-difference", title=title, sentences=told, charts=charts)


def _tables(saved: SavedComparison) -> Section:
    chosen = tuple(
        f"Chosen on validation data: {method}: {choice.describe()}"
        for method, choice in saved.choices.items()
        if choice.candidates
    )
    return Section(
        key="tables",
        title="All results",
        sentences=(caption(saved.results),),
        tables=tuple(map(_table, text_tables(saved.results))),
        lines=chosen,
    )


def _table(text: TextTable) -> Table:
    return Table(caption=text.title, header=text.header, rows=text.rows)


def _unless_nothing(answers: tuple[str, ...]) -> tuple[str, ...]:
    return answers or ("No run of the comparison is done yet, so there is no answer.",)
