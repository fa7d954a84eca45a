"""The ``[partition]`` section of a configuration."""

from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from fedtt.section import Clients, Examples, Positive, Section, Seed, Share

# kind -> the keys that it needs; min_examples and seed go with every kind
PARTITION_KEYS: Mapping[str, frozenset[str]] = {
    "iid": frozenset({"clients"}),
    "dirichlet": frozenset({"clients", "alpha"}),
    "labels": frozenset({"proportions"}),
    "quantity": frozenset({"clients", "alpha"}),
    "column": frozenset({"column"}),
}


class PartitionConfig(Section):
    """``[partition]``: one pool, its training examples dealt out to clients."""

    kind: Literal["iid", "dirichlet", "labels", "quantity", "column"] = Field(
        description="how the examples are dealt out"
    )
    clients: Clients | None = Field(
        None, description="iid, dirichlet, quantity (required): how many"
    )
    alpha: Positive | None = Field(
        None,
        description="required; dirichlet: concentration of the label proportions; quantity: of "
        "the client sizes",
    )
    proportions: Annotated[tuple[tuple[Share, ...], ...], Field(min_length=1)] | None = Field(
        None, description="labels (required): one row of label proportions for each client"
    )
    column: str | None = Field(
        None, description="column (required): the column that says who holds the row"
    )
    min_examples: Examples = Field(2, description="training examples that each client has at least")
    seed: Seed = Field(
        0,
        description="of the partition; apart from the run's `seed`, so that runs of all seeds "
        "have the same clients",
    )

    @model_validator(mode="after")
    def _keys_of_the_kind(self) -> Self:
        needed = PARTITION_KEYS[self.kind]
        optional = frozenset().union(*PARTITION_KEYS.values())
        given = {key for key in optional if getattr(self, key) is not None}
        if needed - given:
            raise ValueError(f"kind {self.kind!r} needs {' and '.join(sorted(needed - given))}")
        if given - needed:
            raise ValueError(f"kind {self.kind!r} has no {' and no '.join(sorted(given - needed))}")
        return self

    @model_validator(mode="after")
    def _rows_of_proportions(self) -> Self:
        rows = self.proportions or ()
        for index, row in enumerate(rows):
            if abs(sum(row) - 1) > 1e-6 or len(row) != len(rows[0]):
                raise ValueError(
                    f"row {index + 1} of proportions is {list(row)}: every row has one "
                    "proportion for each class, and they sum to 1"
                )
        return self
