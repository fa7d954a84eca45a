"""Tables and files of hand-made results, letter by letter."""

import csv
import io
import sys
from dataclasses import replace

import pytest
from tests.experiment.comparisons import CELLS, done, not_done

from fedtt.attacks import BACKDOOR_SUCCESS
from fedtt.experiment.comparison import Status, summarize_cells
from fedtt.experiment.comparison.curves import draw_curves
from fedtt.experiment.comparison.formats import escape_latex, to_csv, to_latex, to_markdown
from fedtt.experiment.comparison.frontier import draw_frontier, frontier_of
from fedtt.experiment.comparison.text_tables import NOTHING, caption, significant, text_tables

RESULTS = summarize_cells(CELLS, reference="fedtt", targets=(0.75,))

# fedtt to .75: 3 rounds x 5 kB = 15 kB, one seed of two; lora_8: 1 round x 16 kB, both.
MARKDOWN = """\
## iid (equal bytes: 8.00 kB up)

| method | test accuracy | Δ to fedtt | n | best round | up kB per client and round | total MB | MB to 0.75 | accuracy at equal bytes |
| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |
| fedtt | 0.810 ± 0.014 | – | 2 | 2.5 | 1.00 | 0.0200 | 0.0150 (1/2) | 0.740 ± 0.057 |
| lora_8 | 0.800 ± 0.014 | −0.010 ± 0.028 | 2 | 3.0 | 4.00 | 0.0640 | 0.0160 | 0.770 ± 0.014 |
| bad | 0.500 (1 diverged) | −0.300 | 1/2 | 1.0 | 4.50 | 0.0720 | never (0/1) | – |
| ugly | diverged | – | 0/2 | – | – | – | – | – |
"""  # noqa: E501, RUF001

LATEX = r"""\begin{table*}
\centering\small
\begin{tabular}{lrrrrrrrr}
\toprule
method & test accuracy & $\Delta$ to fedtt & n & best round & up kB per client and round & total MB & MB to 0.75 & accuracy at equal bytes \\
\midrule
\multicolumn{9}{l}{\emph{iid (equal bytes: 8.00 kB up)}} \\
fedtt & 0.810 $\pm$ 0.014 & -- & 2 & 2.5 & 1.00 & 0.0200 & 0.0150 (1/2) & 0.740 $\pm$ 0.057 \\
lora\_8 & 0.800 $\pm$ 0.014 & $-$0.010 $\pm$ 0.028 & 2 & 3.0 & 4.00 & 0.0640 & 0.0160 & 0.770 $\pm$ 0.014 \\
bad & 0.500 (1 diverged) & $-$0.300 & 1/2 & 1.0 & 4.50 & 0.0720 & never (0/1) & -- \\
ugly & diverged & -- & 0/2 & -- & -- & -- & -- & -- \\
\bottomrule
\end{tabular}
"""  # noqa: E501

CSV = """\
setting,option,method,seed,status,collapsed,error,hyper_parameters,test_accuracy,test_macro_f1,test_loss,final_validation_accuracy,best_validation_round,best_validation_accuracy,exchanged_parameters,exchanged_parameters_by_kind,uplink_bytes_per_client_round,uplink_bytes,downlink_bytes,bytes_to_0.75,uplink_bytes_to_0.75,equal_bytes_uplink,validation_accuracy_at_equal_bytes,seconds
iid,plain,fedtt,0,done,False,,a.b=1;c=x,0.5,0.4,0.5,0.75,2,0.75,42,cores=30;head=12,1000.0,4000,6000,10000,4000,4000,0.75,1.5
iid,plain,ugly,0,diverged,,the loss is nan where: round 3,client.learning_rate=0.5,,,,,,,,,,,,,,4000,,
iid,plain,ugly,1,missing,,,client.learning_rate=0.5,,,,,,,,,,,,,,4000,,
"""  # noqa: E501


def test_markdown() -> None:
    text = to_markdown(RESULTS, choices=["fedtt: rate = 1"])
    assert text == f"{MARKDOWN}\n{caption(RESULTS)}\n\nChosen on validation data:\n\n" + (
        "- fedtt: rate = 1\n"
    )
    assert to_markdown(RESULTS) == f"{MARKDOWN}\n{caption(RESULTS)}\n"


def test_latex() -> None:
    text = to_latex(RESULTS)
    assert text.startswith(LATEX)
    assert text.endswith("given in the heading.}\n\\end{table*}\n")
    assert text.isascii()


def test_csv() -> None:
    point = {"a.b": 1, "c": "x"}
    cells = [
        done("fedtt", 0, test=0.5, accuracies=[0.5, 0.75], up=2000, down=3000, point=point),
        not_done("ugly", 0, Status.DIVERGED),
        not_done("ugly", 1, Status.MISSING),
    ]
    assert to_csv(summarize_cells(cells, reference="fedtt", targets=(0.75,))) == CSV


def test_a_backdoor_has_a_column_where_one_was_tried() -> None:
    plain, hit = (
        done("fedtt", 0, test=0.5, accuracies=[0.5], up=1, down=1, setting=setting)
        for setting in ("nobody", "backdoor")
    )
    hit = replace(hit, test={**hit.test, BACKDOOR_SUCCESS: 0.875})
    results = summarize_cells([plain, hit], reference="fedtt")
    _, nobody, backdoor = text_tables(results)
    place = nobody.header.index(BACKDOOR_SUCCESS)
    assert (nobody.rows[0][place], backdoor.rows[0][place]) == (NOTHING, "0.875")
    assert BACKDOOR_SUCCESS.capitalize() in caption(results)
    first, second = csv.DictReader(io.StringIO(to_csv(results)))
    assert (first["test_backdoor success"], second["test_backdoor success"]) == ("", "0.875")


def test_csv_has_one_row_a_cell_and_quotes_what_it_must() -> None:
    rows = list(csv.DictReader(io.StringIO(to_csv(RESULTS))))
    assert [(row["method"], row["seed"]) for row in rows] == [
        (cell.cell.method, str(cell.cell.seed)) for cell in CELLS
    ]
    named = done("a,b", 0, test=0.5, accuracies=[0.5], up=1, down=1)
    (row,) = csv.DictReader(io.StringIO(to_csv(summarize_cells([named], reference="a,b"))))
    assert row["method"] == "a,b"


def test_a_title_names_the_option_where_there_are_options() -> None:
    shown = summarize_cells(CELLS, reference="fedtt", options_shown=True)
    assert text_tables(shown)[0].title.startswith("iid, plain (")


def test_several_settings_have_an_overview_first() -> None:
    other = [
        done("fedtt", 0, test=0.6, accuracies=[0.5], up=6000, down=1, setting="skewed"),
        not_done("lora_8", 0, Status.DIVERGED, setting="skewed"),
        not_done("bad", 0, Status.MISSING, setting="skewed"),
        not_done("ugly", 0, Status.MISSING, setting="skewed"),
    ]
    results = summarize_cells([*CELLS, *other], reference="fedtt")
    first, *rest = text_tables(results)
    assert first.title == "test accuracy"
    assert first.header == ("method", "up kB per client and round", "iid", "skewed")
    assert first.rows == (  # fedtt: the mean of 1 kB and 3 kB
        ("fedtt", "2.00", "0.810 ± 0.014", "0.600"),
        ("lora_8", "4.00", "0.800 ± 0.014", "diverged"),
        ("bad", "4.50", "0.500 (1 diverged)", "–"),  # noqa: RUF001
        ("ugly", "–", "diverged", "–"),  # noqa: RUF001
    )
    assert [table.title.split(" (")[0] for table in rest] == ["iid", "skewed"]
    assert to_markdown(results).startswith("## test accuracy\n\n| method | up kB per")
    assert to_latex(results).count("midrule") == 2


def test_cells_yet_to_run_show_as_such() -> None:
    cells = [CELLS[0], not_done("fedtt", 1, Status.MISSING), not_done("lora_8", 0, Status.MISSING)]
    first, second = text_tables(summarize_cells(cells, reference="fedtt"))[0].rows
    assert (first[1], first[3]) == ("0.800", "1/2")
    assert (second[1], second[3]) == ("–", "0/1")  # noqa: RUF001
    mixed = [not_done("a", 0, Status.FAILED), not_done("a", 1, Status.FAILED)]
    assert text_tables(summarize_cells(mixed, reference="a"))[0].rows[0][1] == "failed"


def test_nothing_run_at_all_is_still_a_table() -> None:
    results = summarize_cells([not_done("a", 0, Status.MISSING)], reference="a", targets=(0.5,))
    assert text_tables(results)[0].title == "iid"
    assert "missing" in to_csv(results)
    assert r"\bottomrule" in to_latex(results)


@pytest.mark.parametrize(
    ("value", "text"),
    [(1234.4, "1234"), (999.6, "1000"), (12.34, "12.3"), (1.0, "1.00"), (0.01234, "0.0123")],
)
def test_three_significant_digits(value: float, text: str) -> None:
    assert significant(value) == text


def test_latex_escapes_every_command_character() -> None:
    assert escape_latex(r"a_b&c%d$e#f{g}~^\h") == (
        r"a\_b\&c\%d\$e\#f\{g\}\textasciitilde{}\textasciicircum{}\textbackslash{}h"
    )


def test_curves_are_a_png_and_an_svg_the_same_every_time() -> None:
    first, again = draw_curves(RESULTS), draw_curves(RESULTS)
    assert first is not None
    assert first == again
    assert first["png"].startswith(b"\x89PNG")
    assert b"</svg>" in first["svg"]


def test_curves_of_nothing_are_empty_panels() -> None:
    assert draw_curves(summarize_cells([not_done("a", 0, Status.MISSING)], reference="a"))


def test_without_matplotlib_there_are_no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert draw_curves(RESULTS) is draw_frontier(RESULTS) is None


def test_a_cell_that_collapsed_is_marked_and_counted() -> None:
    whole = done("fedtt", 0, test=0.8, accuracies=[0.7, 0.8], up=1, down=1)
    stuck = done("fedtt", 1, test=0.6, accuracies=[0.7, 0.6], up=1, down=1, constant=True)
    unchosen = not_done("lora_8", 0, Status.COLLAPSED)
    results = summarize_cells([whole, stuck, unchosen], reference="fedtt")
    first, second = text_tables(results)[0].rows
    assert first[1] == "0.700 ± 0.141 (1 collapsed)"
    assert second[1] == "collapsed"
    assert [row["collapsed"] for row in csv.DictReader(io.StringIO(to_csv(results)))] == [
        "False",
        "True",
        "",
    ]


def test_bytes_to_the_reference_have_columns_where_a_margin_is_asked_for() -> None:
    results = summarize_cells(CELLS, reference="lora_8", margin=0.05)
    table = text_tables(results)[0]
    columns = [table.header.index(f"{what} to lora_8 − 0.05") for what in ("up MB", "MB")]  # noqa: RUF001
    assert all(len(row) == len(table.header) for row in table.rows)
    assert all("MB to" not in name for name in text_tables(RESULTS)[0].header if "lora" in name)
    fedtt = table.rows[0]
    reached = results.groups[0].rows[0].to_reference
    assert reached is not None
    assert [fedtt[at].split()[0] for at in columns] == [
        significant(value / 1e6) for value in (reached.uplink_bytes, reached.total_bytes) if value
    ]
    (row, *_) = csv.DictReader(io.StringIO(to_csv(results)))
    assert {"bytes_to_reference", "uplink_bytes_to_reference"} <= row.keys()


def test_the_frontier_keeps_what_no_cheaper_method_reaches() -> None:
    """Bytes upwards: 1 kB .5, 2 kB .7, 3 kB .7 (no better), 4 kB .6, 5 kB .8."""
    scores = {"a": (1, 0.5), "b": (2, 0.7), "c": (3, 0.7), "d": (4, 0.6), "e": (5, 0.8)}
    cells = [
        done(name, 0, test=score, accuracies=[score], up=1000 * kb, down=1)
        for name, (kb, score) in reversed(scores.items())
    ]
    results = summarize_cells(cells, reference="a")
    (group,) = results.groups
    assert [row.method for row in frontier_of(group.rows, sign=1)] == ["a", "b", "e"]
    assert [row.method for row in frontier_of(group.rows, sign=-1)] == ["a"]


def test_the_frontier_is_a_png_and_an_svg_the_same_every_time() -> None:
    first, again = draw_frontier(RESULTS), draw_frontier(RESULTS)
    assert first is not None
    assert first == again
    assert b"</svg>" in first["svg"]
    assert draw_frontier(summarize_cells([not_done("a", 0, Status.MISSING)], reference="a"))
