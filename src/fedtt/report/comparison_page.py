"""A page of a comparison: how its methods stand in each setting, then everything below."""

from pathlib import Path

from fedtt.experiment.comparison.cell_statistics import Group
from fedtt.experiment.comparison.layout import cell_path
from fedtt.experiment.comparison.read_comparison import SavedComparison, read_comparison
from fedtt.experiment.comparison.text_tables import TextTable, caption, text_tables
from fedtt.report.blocks import Page, Section, Table
from fedtt.report.charts import interval_chart
from fedtt.report.pages import Panel, common_sections, page_looks, panel_sections
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
    answers = [
        f"{panel.title}: {sentence}" if len(panels) > 1 else sentence
        for _, panel in shown
        for sentence in standing_of(panel.series)
    ]
    done = sum(cell.done for cell in results.cells)
    sections = [_tables(saved)]
    for number, panel in shown:
        sections += _panel(panel, results.reference, key=f"group{number}", titled=len(panels) > 1)
    everything = [one for _, panel in shown for one in panel.series]
    return Page(
        title=path.resolve().name,
        subtitle=f"a comparison: {done} of {counted(len(results.cells), 'run')} done, "
        f"{counted(len(panels), 'setting')}, against {results.reference}",
        answer=_unless_nothing(_no_repeats(answers)),
        sections=(*sections, *(common_sections(everything) if everything else ())),
        looks=page_looks([panel for _, panel in shown]),
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


def _panel(panel: Panel, reference: str, *, key: str, titled: bool) -> list[Section]:
    sections = [_differences(panel, reference, key=key), *panel_sections(panel, key=key)]
    if not titled:
        return sections
    return [
        Section(
            key=section.key,
            title=f"{panel.title}: {section.title}",
            sentences=section.sentences,
            charts=section.charts,
            tables=section.tables,
            lines=section.lines,
        )
        for section in sections
    ]


def _differences(panel: Panel, reference: str, *, key: str) -> Section:
    against = next((one for one in panel.series if one.name == reference), None)
    rows = [
        (one.name, gap.mean, gap.low, gap.high)
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
                rows=rows,
                x="difference in the test score, positive is better",
                intervals=True,
            ),
        )
        if rows
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


def _no_repeats(answers: list[str]) -> tuple[str, ...]:
    """What is said of how sure it all is comes with every setting: once is enough, at the end."""
    last = {answer.split(": ", 1)[-1]: answer for answer in answers if "95 % intervals" in answer}
    kept = [answer for answer in answers if "95 % intervals" not in answer]
    return (
        *kept,
        *(f"Noise: {text}" for text in dict.fromkeys(t.split("Noise: ")[-1] for t in last)),
    )


def _unless_nothing(answers: tuple[str, ...]) -> tuple[str, ...]:
    return answers or ("No run of the comparison is done yet, so there is no answer.",)
