"""Which base model, and how it is held."""

from dataclasses import dataclass

from fedtt.models.options import ModelOptions


@dataclass(frozen=True, kw_only=True)
class BaseModelSpec:
    """``name`` is an alias, a hub id, a directory or a .gguf file; ``device`` may be ``auto``.

    ``dropout`` replaces every dropout probability of the model's own configuration; None leaves
    them. ``dtype`` is the name of a torch type.
    """

    name: str
    dtype: str
    device: str
    revision: str | None = None
    dropout: float | None = None
    options: ModelOptions = ModelOptions()  # noqa: RUF009 (frozen)
