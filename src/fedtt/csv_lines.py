"""CSV as every reader reads it back."""

import csv
from collections.abc import Iterable, Sequence
from typing import Any, TextIO


def write_csv_lines(file: TextIO, rows: Iterable[Sequence[Any]]) -> None:
    """The rows, each ended by a line feed. A row with a carriage return is quoted whole.

    Readers end a line at a bare one, too, and before Python 3.13 ``csv`` leaves a field with one
    as it is, unless lines end in it: messages of HL7 v2 are full of them.
    """
    usual = csv.writer(file, lineterminator="\n")
    quoted = csv.writer(file, lineterminator="\n", quoting=csv.QUOTE_ALL)
    for row in rows:
        (quoted if any("\r" in str(field) for field in row) else usual).writerow(row)
