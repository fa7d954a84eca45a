"""The ``[data]`` section of a configuration."""

from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Self

from pydantic import Field, field_validator, model_validator

from fedtt.data.named.catalog import SILOS, SOURCES
from fedtt.section import Examples, Fraction, Section, Seed

NAMES = ", ".join(SOURCES)
LabelValue = Annotated[int, Field(ge=-(10**15), le=10**15)]


class DataConfig(Section):
    """``[data]``: either a named source or a file."""

    source: str | None = Field(
        None,
        description="a task by name, such as `sst2`, or `sentiment-silos`; `fedtt data list` "
        "shows them all",
    )
    directory: Path | None = Field(
        None, description="where the files of `source` are; left out: the Hugging Face hub"
    )
    path: Path | None = Field(
        None,
        description="a `.csv`, `.jsonl`, `.json` (one object a line) or `.parquet` file, one "
        "example a row",
    )
    test_path: Path | None = Field(
        None,
        description="a second file with the same columns: the one test set, whole, that all "
        "clients share; `test` no longer matters, and training examples that occur in "
        "it are left out",
    )
    examples: Examples | None = Field(
        None,
        description="use a random part of so many training examples, drawn with `split_seed`, "
        "before anything else; left out: all",
    )
    min_client_examples: Examples = Field(
        1, description="the data's own clients with fewer are left out; how many is printed"
    )
    text_column: str = Field("text", description="the text, or the first of two")
    pair_column: str | None = Field(
        None, description="the second text, where an example is two texts (MRPC, RTE)"
    )
    label_column: str = Field(
        "label", description="integers or strings, at least two distinct ones"
    )
    client_column: str = Field(
        "client", description="who holds the row; without this column the file is one client"
    )
    label_names: tuple[str, ...] | None = Field(
        None, description="names of the classes, in order; left out: sorted labels"
    )
    label_values: tuple[LabelValue | str, ...] | None = Field(
        None,
        description="what stands in the label column for each of `label_names`; left out: the "
        "names, or as many integers, in ascending order",
    )
    validation: Fraction = Field(
        0.1, description="share of each client's distinct texts; no text is on two sides"
    )
    test: Fraction = Field(
        0.15, description="share of each client's distinct texts; no text is on two sides"
    )
    split_seed: Seed = Field(
        0,
        description="of the split; apart from `seed`, so that runs of all seeds share one test "
        "split",
    )

    @field_validator("source")
    @classmethod
    def _known_source(cls, name: str | None) -> str | None:
        if name is not None and name not in SOURCES:
            close = get_close_matches(name.casefold(), SOURCES, n=1)
            hint = f"did you mean {close[0]!r}?" if close else f"expected one of {NAMES}"
            raise ValueError(f"{hint} (fedtt data list shows all; a file of yours goes into path)")
        return name

    @model_validator(mode="after")
    def _one_origin(self) -> Self:
        if (self.source is None) == (self.path is None):
            raise ValueError('give either source, such as "sst2", or path = "FILE"')
        if self.path is None and (self.test_path or self.pair_column):
            raise ValueError("test_path and pair_column go with path, not with source")
        if self.pair_column == self.text_column:
            raise ValueError("pair_column is text_column: a text is no pair with itself")
        if self.path is None and self.label_names:
            raise ValueError("label_names goes with path; a source has names of its own")
        if self.label_values and len(self.label_values) != len(self.label_names or ()):
            raise ValueError("label_values goes with label_names: one value for each, in order")
        if self.directory and self.source in (None, SILOS):
            raise ValueError("directory goes with the name of a task, such as source = 'sst2'")
        if self.validation + self.test >= 1:
            raise ValueError("validation + test leave nothing to train on")
        return self
