"""Results as files: CSV with one row a cell, Markdown, LaTeX with booktabs."""

import io
from collections.abc import Iterable
from typing import Any

from fedtt.csv_lines import write_csv_lines
from fedtt.experiment.comparison.cell_results import CellResult, best, first_reaching, last_within
from fedtt.experiment.comparison.cell_statistics import Group, Results
from fedtt.experiment.comparison.text_tables import TextTable, caption, header, text_tables

LATEX = {
    "\\": r"\textbackslash{}",
    "±": r"$\pm$",
    "Δ": r"$\Delta$",
    "\N{EN DASH}": "--",
    "\N{MINUS SIGN}": "$-$",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    **{character: f"\\{character}" for character in "&%$#_{}"},
}


def to_csv(results: Results) -> str:
    """One row a cell, finished or not; what was not measured is empty. docs/compare.md explains."""
    buffer = io.StringIO()
    measured = [name for cell in results.cells if cell.done for name in cell.test]
    metrics = dict.fromkeys([results.score.name, *measured, "loss"])
    rows = [
        _csv_row(cell, group, metrics=metrics, results=results)
        for group in results.groups
        for cell in group.cells
    ]
    names = list(rows[0])
    write_csv_lines(buffer, [names, *([row[name] for name in names] for row in rows)])
    return buffer.getvalue()


def to_markdown(results: Results, *, choices: Iterable[str] = ()) -> str:
    """A section a table; ``choices``: lines on the chosen hyper-parameters."""
    parts = [_markdown_table(table) for table in text_tables(results)]
    chosen = "\n".join(f"- {line}" for line in choices)
    notes = [caption(results)] + ([f"Chosen on validation data:\n\n{chosen}"] if chosen else [])
    return "\n\n".join([*parts, *notes]) + "\n"


def to_latex(results: Results) -> str:
    r"""One ``table*`` with a block a setting and option; needs ``\usepackage{booktabs}``."""
    columns = header(results)
    lines = [
        r"\begin{table*}",
        r"\centering\small",
        rf"\begin{{tabular}}{{l{'r' * (len(columns) - 1)}}}",
        r"\toprule",
        " & ".join(map(escape_latex, columns)) + r" \\",
    ]
    for table in text_tables(results):
        if table.header != columns:  # the overview has columns of its own
            continue
        title = escape_latex(table.title)
        lines += [
            r"\midrule",
            rf"\multicolumn{{{len(columns)}}}{{l}}{{\emph{{{title}}}}} \\",
            *(" & ".join(map(escape_latex, row)) + r" \\" for row in table.rows),
        ]
    lines += [
        r"\bottomrule",
        r"\end{tabular}",
        rf"\caption{{{escape_latex(caption(results))}}}",
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def escape_latex(text: str) -> str:
    """The text with everything that LaTeX reads as a command set as itself."""
    return "".join(LATEX.get(character, character) for character in text)


def _markdown_table(table: TextTable) -> str:
    lines = [
        table.header,
        tuple("---" if index == 0 else "---:" for index in range(len(table.header))),
        *table.rows,
    ]
    cells = ("| " + " | ".join(c.replace("|", "\\|") for c in line) + " |" for line in lines)
    return f"## {table.title}\n\n" + "\n".join(cells)


def _csv_row(
    result: CellResult, group: Group, *, metrics: Iterable[str], results: Results
) -> dict[str, Any]:
    """Numbers in full precision; ``None`` becomes an empty field."""
    cell, done, score = result.cell, result.done, next(iter(metrics))
    curve = result.curve if done else ()
    peak = best(curve)
    within = None if group.budget is None else last_within(curve, group.budget)
    counts = {kind: n for kind, n in result.exchanged_parameters.items() if kind != "total"}
    row: dict[str, Any] = {
        "setting": cell.setting,
        "option": cell.option,
        "method": cell.method,
        "seed": cell.seed,
        "status": str(result.status),
        "collapsed": result.collapsed if done else None,
        "error": " ".join(result.error.split()),
        "hyper_parameters": _pairs(result.point),
        **{f"test_{name}": result.test.get(name) for name in metrics},
        f"final_validation_{score}": curve[-1].score if curve else None,
        "best_validation_round": peak.round if peak else None,
        f"best_validation_{score}": peak.score if peak else None,
        "exchanged_parameters": result.exchanged_parameters.get("total"),
        "exchanged_parameters_by_kind": _pairs(counts),
        "uplink_bytes_per_client_round": result.uplink_per_client_round if done else None,
        "uplink_bytes": result.uplink_bytes if done else None,
        "downlink_bytes": result.downlink_bytes if done else None,
    }
    named: list[tuple[str, float | None]] = [(f"{t:g}", t) for t in results.targets]
    if results.margin is not None:
        named.append(("reference", group.reference_target))
    for name, target in named:
        reached = None if target is None else first_reaching(curve, target)
        row[f"bytes_to_{name}"] = reached.total_bytes if reached else None
        row[f"uplink_bytes_to_{name}"] = reached.uplink_bytes if reached else None
    return {
        **row,
        "equal_bytes_uplink": group.budget,
        f"validation_{score}_at_equal_bytes": within.score if within else None,
        "seconds": result.seconds if done else None,
    }


def _pairs(values: dict[str, Any]) -> str:
    return ";".join(f"{key}={value}" for key, value in values.items())
