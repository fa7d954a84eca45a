import csv
import io

import pandas as pd
from hypothesis import given
from hypothesis import strategies as st

from fedtt.csv_lines import write_csv_lines

FIELD = st.text(st.characters(codec="utf-8", exclude_characters="\0"), min_size=1)


def written(rows: list[list[str]]) -> str:
    file = io.StringIO(newline="")
    write_csv_lines(file, rows)
    return file.getvalue()


@given(
    rows=st.lists(st.lists(FIELD | st.sampled_from(["\r", "a\rb", "a\r\nb", '"', ","]), min_size=2))
)
def test_what_is_written_is_read_back(rows: list[list[str]]) -> None:
    assert list(csv.reader(io.StringIO(written(rows), newline=""))) == rows


def test_messages_whose_segments_end_in_a_carriage_return_keep_their_columns() -> None:
    text = written([["id", "text", "label"], ["1", "PID|1|Mr X\rOBX|2|fever", "mild"]])
    assert text == 'id,text,label\n"1","PID|1|Mr X\rOBX|2|fever","mild"\n'
    assert pd.read_csv(io.StringIO(text)).columns.tolist() == ["id", "text", "label"]
    assert pd.read_csv(io.StringIO(text)).label.tolist() == ["mild"]
