"""Whether two models answer the same, on random tokens."""

import inspect
import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedTokenizerBase

from fedtt.errors import ModelError

TOLERANCE = 1e-4  # of the largest output or of 1, whichever is more
SHAPES = ((1, 5), (3, 12), (2, 7))  # texts x tokens; the last text of several is padded
PADDED = 2
KEEP = "keep the adapter beside its base model: --format peft"

Outputs = list[Tensor]


def inputs_for(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> tuple[str, ...]:
    """What of the tokenizer's outputs the model takes, in order."""
    takes = inspect.signature(_innermost(model).forward).parameters
    names = ("input_ids", "attention_mask", "token_type_ids")
    return tuple(name for name in names if name in takes and name in tokenizer.model_input_names)


def probes(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> list[dict[str, Tensor]]:
    """Batches of random tokens, always the same, one with padding."""
    generator = torch.Generator().manual_seed(0)
    names, found = inputs_for(model, tokenizer), []
    for texts, tokens in SHAPES:
        ids = torch.randint(len(tokenizer), (texts, tokens), generator=generator)
        mask = torch.ones_like(ids)
        if texts > 1:
            mask[-1, -PADDED:] = 0
            ids[-1, -PADDED:] = int(tokenizer.pad_token_id)
        kinds = torch.zeros_like(ids)
        kinds[:, tokens // 2 :] = 1  # a second text, where the model tells two apart
        whole = {"input_ids": ids, "attention_mask": mask, "token_type_ids": kinds}
        found.append({name: whole[name] for name in names})
    return found


def outputs_of(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> Outputs:
    """The logits of every probe, where there is a token."""
    place = next(model.parameters()).device
    found = []
    for probe in probes(model, tokenizer):
        with torch.inference_mode():
            on_device = {name: value.to(place) for name, value in probe.items()}
            found.append(at_tokens(model(**on_device).logits, probe))
    return found


def at_tokens(logits: Tensor, probe: Mapping[str, Tensor]) -> Tensor:
    """One row a text, or a token that is no padding; those of virtual tokens are left out."""
    values = logits.detach().float().cpu()
    if values.ndim == 2:
        return values
    ids = probe["input_ids"]
    mask = probe.get("attention_mask", torch.ones_like(ids))
    return values[:, -ids.shape[1] :][mask.bool()]


def check_same(
    expected: Sequence[Tensor], got: Sequence[Tensor], *, what: str, fix: str = KEEP
) -> str:
    """How far apart they are, in words. Raises :class:`ModelError` beyond :data:`TOLERANCE`."""
    most: Any = max(float(values.abs().max()) for values in expected)
    apart = _apart(expected, got)
    limit = TOLERANCE * max(1.0, most)
    if not apart <= limit:  # so that what is no number is refused, too
        raise ModelError(
            f"{what} does not compute what the tuned model does",
            got=f"outputs {apart:.2g} apart",
            expected=f"at most {limit:.2g} apart",
            fix=fix,
        )
    return f"outputs at most {apart:.2g} apart, where {limit:.2g} is allowed"


def _apart(expected: Sequence[Tensor], got: Sequence[Tensor]) -> float:
    """The largest difference; without end between shapes that differ, which would be broadcast."""
    each = [
        float((a - b).abs().max()) if a.shape == b.shape else math.inf
        for a, b in zip(expected, got, strict=True)
    ]
    return float(torch.tensor(each).max())  # Python's own max may pass over what is no number


def _innermost(model: Any) -> Any:
    """PEFT's own signatures take anything."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model
