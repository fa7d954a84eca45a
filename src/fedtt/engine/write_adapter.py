"""A model's adapter as PEFT's own files, with what of the base model was trained beside it."""

from collections.abc import Collection
from pathlib import Path

from peft import PeftModel

from fedtt.federated.method import Method
from fedtt.peft import also_trained, save_also_trained


def write_adapter(
    model: PeftModel, method: Method, path: Path, *, exchanged: Collection[str]
) -> None:
    """Save the adapter of ``model``, which exchanges these parameters, into a directory."""
    model.save_pretrained(str(path), save_embedding_layers=False)
    if method.also_train:
        save_also_trained(model, path, also_trained(model, exchanged))
