import csv
import json
import unicodedata
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from fedtt.data import GivenClasses, RawData, load_text_file
from fedtt.data.unlabeled_files import load_texts
from fedtt.errors import DataError

TEXT = st.text(st.characters(codec="utf-8"), min_size=1).filter(lambda s: bool(s.strip()))
ROW = st.tuples(TEXT, st.sampled_from(["no", "yes", 'may be, "quoted"\nhere']), TEXT.map(str.strip))
Rows = list[tuple[str, object, object]]


def write(path: Path, rows: Rows, names: tuple[str, ...] = ("text", "label", "client")) -> Path:
    if path.suffix == ".csv":
        with path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows([names, *rows])
    elif path.suffix == ".parquet":
        columns = list(zip(*rows, strict=True))
        pq.write_table(pa.table(dict(zip(names, map(list, columns), strict=True))), path)
    else:
        lines = [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in rows]
        path.write_text("\n".join(lines), encoding="utf-8")
    return path


def contents(raw: RawData) -> dict[str, list[tuple[str, str]]]:
    return {
        client_id: [(t, raw.label_names[i]) for t, i in zip(v.texts, v.labels, strict=True)]
        for client_id, v in raw.texts_by_client.items()
    }


@pytest.mark.parametrize("extension", ["csv", "jsonl", "json", "parquet", "CSV"])
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(ROW, min_size=2).filter(lambda rows: len({row[1] for row in rows}) > 1))
def test_what_is_written_is_read(
    tmp_path: Path, extension: str, rows: list[tuple[str, str, str]]
) -> None:
    path = tmp_path / f"data.{extension}"
    write(path.with_suffix(path.suffix.lower()), list(rows)).replace(path)
    raw = load_text_file(path)
    expected: dict[str, list[tuple[str, str]]] = {}
    for text, label, client in rows:
        expected.setdefault(unicodedata.normalize("NFC", client), []).append((text, label))
    assert contents(raw) == expected
    assert raw.name == "data"
    assert raw.notes == ()


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_integers_and_a_single_client(tmp_path: Path, extension: str) -> None:
    rows: Rows = [("a", 5, 0.5), ("b", 3, 0.25), ("c", 5, 0.1)]
    path = write(tmp_path / f"stars.{extension}", rows, ("text", "label", "score"))
    raw = load_text_file(str(path))
    assert raw.label_names == ("3", "5")
    assert contents(raw) == {"stars": [("a", "5"), ("b", "3"), ("c", "5")]}
    assert raw.notes == ("Columns not used: score.",)
    named = load_text_file(path, classes=GivenClasses(names=("bad", "good")))
    assert contents(named) == {"stars": [("a", "good"), ("b", "bad"), ("c", "good")]}


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_integer_client_ids_become_strings(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"d.{extension}", [("a", "x", 7), ("b", "y", 12), ("c", "y", 7)])
    assert contents(load_text_file(path)) == {"7": [("a", "x"), ("c", "y")], "12": [("b", "y")]}


def test_columns_can_have_other_names(tmp_path: Path) -> None:
    rows: Rows = [("a", "x", "p"), ("b", "y", "q")]
    path = write(tmp_path / "d.csv", rows, ("review", "stars", "shop"))
    raw = load_text_file(path, text_column="review", label_column="stars", client_column="shop")
    assert contents(raw) == {"p": [("a", "x")], "q": [("b", "y")]}


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_a_missing_column_comes_with_a_suggestion(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"d.{extension}", [("a", "x", "p")], ("Texts", " label", "shop"))
    message = (
        r"no column 'text'\n  where: .*\n  got: columns 'Texts', ' label', 'shop'\n"
        r"  expected: a column 'text'\n  fix: did you mean 'Texts'\?"
    )
    with pytest.raises(DataError, match=message):
        load_text_file(path)
    with pytest.raises(DataError, match=r"no column 'label'(.|\n)*did you mean ' label'\?"):
        load_text_file(path, text_column="Texts")
    with pytest.raises(DataError, match=r"no column 'sjop'(.|\n)*did you mean 'shop'\?"):
        load_text_file(path, text_column="Texts", label_column=" label", client_column="sjop")
    with pytest.raises(DataError, match=r"no column 'zzz'(.|\n)*fix: rename the column, or set"):
        load_text_file(path, text_column="zzz")


@pytest.mark.parametrize(
    ("extension", "place"), [("csv", ":3"), ("jsonl", ":2"), ("parquet", ", row 2")]
)
def test_a_bad_value_is_told_with_its_place(tmp_path: Path, extension: str, place: str) -> None:
    def refuse(rows: Rows, message: str) -> None:
        path = write(tmp_path / f"d.{extension}", rows)
        with pytest.raises(DataError) as caught:
            load_text_file(path)
        assert message.format(place=f"{path}{place}") in str(caught.value)

    good = ("good", "x", "p")
    refuse([good, ("  ", "y", "p")], "a text is empty\n  where: {place}, column 'text'")
    refuse([good, ("b", "y", "")], "a client id is empty\n  where: {place}, column 'client'")
    refuse([good, ("b", "", "p")], "a label is missing\n  where: {place}")
    two = [("good", 1, "p"), ("b", 2, "p"), ("c", 1, "p")]
    for bad, kind in ((0.5, "not a whole number"), (True, "a boolean")):
        if extension == "parquet":  # a column has one type: the first row is already wrong
            rows: Rows = [(text, bad, p) for text, _, p in two]
            path = write(tmp_path / "d.parquet", rows)
            with pytest.raises(DataError, match=rf"a label is {kind}\n  where: .*, row 1"):
                load_text_file(path)
        else:
            refuse([two[0], ("b", bad, "p"), two[2]], f"a label is {kind}\n  where: {{place}}")


def test_every_empty_text_is_counted(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [("a", "x", 1), ("", "y", 1), ("c", "y", 1), ("\t", "x", 1)])
    with pytest.raises(DataError, match=r"got: ''; 1 more rows are like it"):
        load_text_file(path)


@pytest.mark.parametrize("extension", ["jsonl", "parquet"])
def test_null_and_numbers_are_no_texts(tmp_path: Path, extension: str) -> None:
    path = write(tmp_path / f"d.{extension}", [("a", "x", 1), (None, "y", 1)])  # type: ignore[list-item]
    with pytest.raises(
        DataError, match=r"a text is empty\n  where: .*2, column 'text'\n  got: None"
    ):
        load_text_file(path)
    path = write(tmp_path / f"d.{extension}", [(12, "x", 1), (13, "y", 1)])  # type: ignore[list-item]
    with pytest.raises(DataError, match=r"a text is not a string\n  where: .*1, column 'text'"):
        load_text_file(path)
    path = write(tmp_path / f"d.{extension}", [("a", "x", 1.0), ("b", "y", 2.0)])
    with pytest.raises(DataError, match=r"a client id is not a string or an integer"):
        load_text_file(path)
    path = write(tmp_path / f"d.{extension}", [("a", "x", 1), ("b", None, 2)])
    with pytest.raises(DataError, match=r"a label is missing\n  where: .*2\n  got: None"):
        load_text_file(path)


@pytest.mark.parametrize("client", [" a", "a\t", "\u00a0a"])
def test_client_ids_have_no_white_space_around_them(tmp_path: Path, client: str) -> None:
    """ "a" and " a" would be two clients."""
    path = write(tmp_path / "d.csv", [("a", "x", "a"), ("b", "y", client)])
    with pytest.raises(DataError, match=r"a client id is surrounded by white space\n  where: .*:3"):
        load_text_file(path)


@pytest.mark.parametrize("column", ["text", "label", "client"])
def test_half_a_surrogate_pair_is_refused(tmp_path: Path, column: str) -> None:
    """JSON can spell it; no file and no tokenizer can hold it."""
    path = tmp_path / "d.jsonl"
    rows = [{"text": "a", "label": "x", "client": "p"}, {"text": "b", "label": "y", "client": "p"}]
    rows[1][column] += "\ud800"
    path.write_text("\n".join(map(json.dumps, rows)))
    with pytest.raises(DataError, match=r"is not valid Unicode\n  where: .*d.jsonl:2(.|\n)*ud800'"):
        load_text_file(path)


def test_half_a_surrogate_pair_in_a_column_of_no_use_does_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    rows = [{"text": "a", "label": i, "\ud800": "\ud83d"} for i in range(2)]
    path.write_text("\n".join(map(json.dumps, rows)))
    assert load_text_file(path).notes == (r"Columns not used: '\ud800'.",)


def test_a_class_for_nearly_every_example_is_told(tmp_path: Path) -> None:
    rows: Rows = [(f"text {i}", f"id{i // 3 if i < 9 else i}", "p") for i in range(30)]
    raw = load_text_file(write(tmp_path / "d.csv", rows))
    assert raw.notes == (
        "The column 'label' holds 24 classes for 30 examples: is it the one with the labels?",
    )
    rows = [(f"text {i}", f"id{i % 21}", "p") for i in range(42)]
    assert load_text_file(write(tmp_path / "d.csv", rows)).notes == ()


def test_json_numbers_are_labels_as_their_text_is_and_lacking_keys_are_null(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    path.write_text('{"text": "a", "label": 1}\n\n{"text": "b", "label": "1"}\n')
    with pytest.raises(DataError, match=r"one class only"):
        load_text_file(path)
    path.write_text('{"text": "a", "label": 1}\n{"text": "b"}\n')
    with pytest.raises(DataError, match=r"a label is missing\n  where: .*d.jsonl:2"):
        load_text_file(path)
    path.write_text('{"text": "a", "label": 1}\n{"text": "b", "label": NaN}\n')
    with pytest.raises(DataError, match=r"a label is missing\n  where: .*d.jsonl:2"):
        load_text_file(path)


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("d.csv", b"text,label\na,x\nb\n", r"d.csv:3\n  got: 1 fields\n  expected: 2 fields"),
        ("d.csv", b'text,label\n"a\n\nb",x\nb,y,z\n', r"d.csv:5\n  got: 3 fields"),
        ("d.csv", b'text,label\na,x\n"b,y\nc,z\n', r"d.csv:3\n  got: unexpected end of data"),
        ("d.csv", b"text,label\na,x\nb\xff,y\n", r"d.csv:3\n  got: bytes that are not UTF-8"),
        ("d.csv", b"text,label,text\na,x,b\n", r"d.csv:1\n  got: column 'text' twice"),
        ("d.jsonl", b'{"text": "a"}\n{"text": \n', r"d.jsonl:2\n  got: Expecting value"),
        ("d.jsonl", b"[1, 2]\n", r"d.jsonl:1\n  got: '\[1, 2\]'\n  expected: one JSON object"),
        ("d.json", b'[\n{"text": "a"}]', r"d.json:1\n  got: .*\n  expected: one JSON object"),
        ("d.parquet", b"PAR1 is not enough", r"d.parquet\n  got: .*\n  expected: a parquet file"),
        ("d.parquet", b"", r"d.parquet\n  got: .*\n  expected: a parquet file"),
    ],
)
def test_a_broken_file_is_told_with_the_line(
    tmp_path: Path, name: str, data: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=rf"^the data file is broken\n  where: (.|\n)*{message}"):
        load_text_file(tmp_path / name)


@pytest.mark.parametrize("name", ["d.csv", "d.jsonl"])
def test_an_empty_file_is_told(tmp_path: Path, name: str) -> None:
    for data in ("", "\n", "text,label\n" if name == "d.csv" else "\n\n"):
        (tmp_path / name).write_text(data)
        with pytest.raises(DataError, match=r"holds no examples\n  where: .*\n  got: 0 rows"):
            load_text_file(tmp_path / name)


def test_files_that_are_not_there_or_of_another_kind(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"cannot be read\n  where: .*d.csv\n  got: No such file"):
        load_text_file(tmp_path / "d.csv")
    (tmp_path / "folder.parquet").mkdir()
    with pytest.raises(DataError, match=r"cannot be read\n  where: .*\n  got: Is a directory"):
        load_text_file(tmp_path / "folder.parquet")
    for name, shown in {"d.xlsx": ".xlsx", "d": "no extension"}.items():
        message = rf"not known\n  where: .*\n  got: {shown}\n  expected: one of .csv, .jsonl, .json"
        with pytest.raises(DataError, match=message):
            load_text_file(tmp_path / name)


def test_one_class_is_refused_as_the_whole_files(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [("a", "x", 1), ("b", "x", 1)])
    message = r"one class only\n  where: .*d.csv\n  got: 2 examples, all labeled 'x'"
    with pytest.raises(DataError, match=message):
        load_text_file(path)


def test_integers_that_cannot_be_placed_are_the_whole_files(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [("a", 1, 1), ("b", 1, 1)])
    with pytest.raises(DataError, match=r"cannot be told\n  where: .*d.csv\n"):
        load_text_file(path, classes=GivenClasses(names=("no", "yes")))


@pytest.mark.parametrize(("separator", "shown"), [(";", "';'"), ("\t", "a tab"), ("|", r"'\|'")])
def test_another_separator_is_called_that(tmp_path: Path, separator: str, shown: str) -> None:
    path = tmp_path / "d.csv"
    rows = [("text", "label"), ("good, indeed", "1"), ("bad", "0")]
    path.write_text("".join(separator.join(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=rf"separated by {shown}.*\n  where: .*d.csv:1\n") as caught:
        load_text_file(path)
    assert "expected: a comma between columns" in str(caught.value)


def test_a_lone_column_with_a_semicolon_in_its_name_is_a_column(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text("a;b\nx\n")
    with pytest.raises(DataError, match="no column 'text'"):
        load_text_file(path)


@pytest.mark.parametrize("encoding", ["latin-1", "utf-16", "utf-16-le"])
def test_another_encoding_is_told_how_to_save(tmp_path: Path, encoding: str) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("text,label\ncaf\xe9,1\nbad,0\n".encode(encoding))
    with pytest.raises(DataError, match="fix: save the file as UTF-8") as caught:
        load_text_file(path)
    assert ("UTF-16" in str(caught.value)) == ("16" in encoding)


def test_what_spreadsheets_write_is_read(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_bytes("\ufefftext,label\r\nclich\u00e9,1\r\n\r\nNA,0\r\n".encode())
    assert contents(load_text_file(path)) == {"d": [("cliché", "1"), ("NA", "0")]}


def test_places_in_csv_count_lines_not_rows(tmp_path: Path) -> None:
    path = tmp_path / "d.csv"
    path.write_text('text,label\n"two\nlines",x\n\n  ,y\n')
    with pytest.raises(DataError, match=r"a text is empty\n  where: .*d.csv:5, column 'text'"):
        load_text_file(path)


def test_a_very_long_text_says_what_to_do(tmp_path: Path) -> None:
    path = write(tmp_path / "d.csv", [("a", "x", 1), ("b" * 140_000, "y", 1)])
    with pytest.raises(DataError, match=r"d.csv:3\n  got: field larger than field limit"):
        load_text_file(path)
    with pytest.raises(DataError, match=r"no field over 131,072 characters \(.jsonl and .parquet"):
        load_text_file(path)
    path = write(tmp_path / "d.jsonl", [("a", "x", 1), ("b" * 140_000, "y", 1)])
    assert len(load_text_file(path).texts_by_client["1"].texts[1]) == 140_000


def test_dictionary_encoded_and_small_integer_columns_are_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "text": pa.array(["a", "b", "a"]).dictionary_encode(),
            "label": pa.array([3, 1, 3], pa.uint8()),
            "client": pa.array(["p", "p", "q"], pa.large_string()),
        }
    )
    pq.write_table(table, tmp_path / "d.parquet")
    assert contents(load_text_file(tmp_path / "d.parquet")) == {
        "p": [("a", "3"), ("b", "1")],
        "q": [("a", "3")],
    }


def test_columns_that_are_not_used_are_not_read(tmp_path: Path) -> None:
    odd = pa.array([1, 2], pa.timestamp("ns"))  # Python has no nanoseconds: to_pylist refuses
    pq.write_table(
        pa.table({"text": ["a", "b"], "when": odd, "label": [0, 1]}), tmp_path / "d.parquet"
    )
    raw = load_text_file(tmp_path / "d.parquet")
    assert contents(raw) == {"d": [("a", "0"), ("b", "1")]}
    assert raw.notes == ("Columns not used: when.",)


def test_a_parquet_column_twice_is_refused(tmp_path: Path) -> None:
    table = pa.table([["a"], [0], ["b"]], names=["text", "label", "text"])
    pq.write_table(table, tmp_path / "d.parquet")
    with pytest.raises(DataError, match=r"expected: a parquet file with a different name for each"):
        load_text_file(tmp_path / "d.parquet")


@pytest.mark.parametrize("again", ["text,label,client", "\ufefftext,label,client"])
def test_a_header_that_is_repeated_inside_a_file_is_refused(tmp_path: Path, again: str) -> None:
    path = tmp_path / "d.csv"
    path.write_text(f"text,label,client\na,x,p\n{again}\nb,y,p\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"d.csv:3\n  got: the first line again"):
        load_text_file(path)


@pytest.mark.parametrize("extension", ["jsonl", "parquet"])
def test_a_row_of_column_names_is_refused(tmp_path: Path, extension: str) -> None:
    rows: Rows = [("a", "x", "p"), ("text", "label", "client"), ("b", "y", "p")]
    path = write(tmp_path / f"d.{extension}", rows)
    with pytest.raises(DataError, match=r"repeats the names of the columns\n  where: .*2\n"):
        load_text_file(path)


def test_byte_order_marks_inside_json_lines_do_no_harm(tmp_path: Path) -> None:
    path = tmp_path / "d.jsonl"
    lines = ('{"text": "a", "label": "x"}', '{"text": "b", "label": "y"}')
    path.write_text("\n".join(f"\ufeff{line}" for line in lines), encoding="utf-8")
    assert contents(load_text_file(path)) == {"d": [("a", "x"), ("b", "y")]}


@pytest.mark.parametrize("extension", ["csv", "jsonl", "parquet"])
def test_client_ids_of_two_unicode_forms_are_one_client(tmp_path: Path, extension: str) -> None:
    rows: Rows = [("a", "x", "M\u00fcnchen"), ("b", "y", "Mu\u0308nchen")]
    path = write(tmp_path / f"d.{extension}", rows)
    assert contents(load_text_file(path)) == {"M\u00fcnchen": [("a", "x"), ("b", "y")]}


@pytest.mark.parametrize("one", [1, 1.0, "1", "1.0", "+1"])
def test_a_label_means_the_same_in_every_format(tmp_path: Path, one: object) -> None:
    rows: Rows = [("a", one, "p"), ("b", type(one)(2), "p")]
    for extension in ("csv", "jsonl", "parquet"):
        path = write(tmp_path / f"d.{extension}", rows)
        assert contents(load_text_file(path)) == {"p": [("a", "1"), ("b", "2")]}
        named = load_text_file(path, classes=GivenClasses(names=("1", "2", "3")))
        assert contents(named) == {"p": [("a", "1"), ("b", "2")]}


@pytest.mark.parametrize("name", ["Client", " client", "CLIENT ", "cli\u200bent"])
def test_a_column_that_is_client_to_a_reader_alone_is_refused(tmp_path: Path, name: str) -> None:
    rows: Rows = [("a", "no", "x"), ("b", "yes", "y")]
    path = write(tmp_path / "data.csv", rows, ("text", "label", name))
    with pytest.raises(DataError, match=r"set data\.client_column"):
        load_text_file(path)
    with pytest.raises(DataError, match=r"set data\.client_column"):
        load_texts(path)
    if name == name.strip():
        assert {*load_text_file(path, client_column=name).texts_by_client} == {"x", "y"}


def test_a_column_that_may_name_the_clients_is_told(tmp_path: Path) -> None:
    rows: Rows = [("a", "no", "x"), ("b", "yes", "y")]
    path = write(tmp_path / "data.csv", rows, ("text", "label", "client_id"))
    assert (
        load_text_file(path).notes[1].startswith("No column says who holds a row; if 'client_id'")
    )
    own = write(tmp_path / "own.csv", rows, ("text", "label", "site"))
    assert len(load_text_file(own).notes) == 1
    assert load_text_file(own, client_column="site").notes == ()


def test_a_json_key_that_stands_twice_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "a", "label": "no"}\n{"text": "b", "label": "yes", "text": "c"}\n')
    with pytest.raises(DataError, match=r"data\.jsonl:2"):
        load_text_file(path)
