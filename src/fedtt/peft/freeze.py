"""FFA-LoRA: of LoRA's two matrices only B is trained (arXiv 2403.12313)."""

from peft.tuners.lora import LoraLayer
from torch import nn

from fedtt.errors import ModelError

_A = ("lora_A", "lora_embedding_A")


def freeze_lora_a(model: nn.Module) -> list[str]:
    """Freeze every ``lora_A`` of a PEFT LoRA model, which it changes; the names of what it froze.

    A stays at its random start, which every client must draw from the same seed, and is saved with
    the adapter; ``exchanged_parameters`` leaves it out. It stays frozen through ``set_adapter`` and
    ``disable_adapter``, but not in a model loaded from the file with ``is_trainable=True``: freeze
    it there again. Calling it twice changes nothing.

    Raises:
        ModelError: a model without LoRA layers.
    """
    layers = [module for module in model.modules() if isinstance(module, LoraLayer)]
    for layer in layers:
        adapters = {name for container in _A for name in getattr(layer, container)}
        layer.frozen_peft_weight_names = {
            **layer.frozen_peft_weight_names,
            **{name: _with_a(layer.frozen_peft_weight_names.get(name, ())) for name in adapters},
        }
        layer._freeze_non_trainable_peft_weights()
    if not layers:
        raise ModelError(
            "the model has no LoRA layer whose A could be frozen",
            where="freeze_lora_a",
            got=type(model).__name__,
            expected="a model that get_peft_model gave a LoraConfig",
        )
    frozen = {id(p) for layer in layers for c in _A for p in getattr(layer, c).parameters()}
    return sorted(name for name, p in model.named_parameters() if id(p) in frozen)


def _with_a(names: tuple[str, ...]) -> tuple[str, ...]:
    return (*names, *(name for name in _A if name not in names))
