"""What a named task is: where its data lies, what its columns say, how it is judged."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from fedtt.data.examples import LabeledTexts
from fedtt.data.named.rows import Rows


@dataclass(frozen=True, kw_only=True)
class NamedTask:
    """One task of the catalog.

    ``splits`` are the published splits whose labels are published too, the training split first;
    ``test_split`` is the one of them that stands for the test set that all clients share. Labels
    of ``hidden_splits`` are -1 on the hub. ``columns`` are all that is read of a row;
    ``label_names`` are in the order of the label ids, for a regression the names of its bins.
    ``metrics`` are names of ``fedtt.metrics.METRICS``, the headline one first.

    ``prompt`` holds ``{text}`` and, where examples are pairs, ``{pair}``; a causal model is asked
    which of ``verbalizer`` follows it, after a space. It has one word a class (a few words where
    classes are intents); both are empty for a regression. Of a generation the prompt holds the text
    columns by their names, and ``answers`` names the rule by which what a model writes is scored.
    """

    name: str
    about: str
    hub_id: str
    hub_config: str | None = None
    hub_revision: str | None = None
    kind: Literal["classification", "regression", "generation"] = "classification"
    splits: tuple[str, ...] = ("train", "validation")
    test_split: str = "validation"
    hidden_splits: tuple[str, ...] = ("test",)
    text_columns: tuple[str, ...]
    label_column: str = "label"
    columns: tuple[str, ...] = ()
    paired: bool = False
    grouped: bool = False
    label_names: tuple[str, ...]
    metrics: tuple[str, ...]
    prompt: str = ""
    verbalizer: tuple[str, ...] = ()
    answers: Literal["squad", "drop"] | None = None
    convert: Callable[["NamedTask", Rows], LabeledTexts]

    @property
    def train_split(self) -> str:
        """The split that clients train on."""
        return self.splits[0]

    @property
    def read_columns(self) -> tuple[str, ...]:
        """Every column that a file has to have."""
        return tuple(dict.fromkeys((*self.text_columns, *self.columns, self.label_column)))
