"""What a page is made of: values, which the template only sets."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows as long as ``header``; the first column names the row."""

    caption: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A picture: ``spec`` is Vega-Lite's, ``words`` say what it shows, ``table`` is the same in
    numbers. ``key`` names it among the page's.
    """

    key: str
    title: str
    words: str
    spec: dict[str, Any]
    table: Table


@dataclass(frozen=True, kw_only=True)
class Section:
    """A heading and what is below it, in that order: sentences, charts, tables, lines of a list."""

    key: str
    title: str
    sentences: tuple[str, ...] = ()
    charts: tuple[Chart, ...] = ()
    tables: tuple[Table, ...] = ()
    lines: tuple[str, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a series is told apart: by color, dash and marker."""

    name: str
    color: str
    dash: tuple[int, ...]
    shape: str


@dataclass(frozen=True, kw_only=True)
class Page:
    """A report. ``looks`` are the legend; one series needs none."""

    title: str
    subtitle: str
    answer: tuple[str, ...]
    sections: tuple[Section, ...]
    looks: tuple[Look, ...] = field(default=())
