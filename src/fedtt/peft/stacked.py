"""Which trained parameters a model can take of many clients at once, and how it takes them.

``torch.func.functional_call`` puts parameters with a leading client dimension in place of a
model's own. Our layers know what to do with them; torch's own get another ``forward`` for the
duration. Nothing else can be stacked: such a method trains its clients one by one.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from functools import partial

from peft.tuners.lora import Linear as LoRALinear
from peft.tuners.tuners_utils import BaseTunerLayer
from peft.utils import ModulesToSaveWrapper
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from fedtt.peft.dense_by_client import dense_layer_norm, dense_linear
from fedtt.peft.modules_of_type import modules_of_type
from fedtt.wide_products import WideLinear


def _linear(module: nn.Linear, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
    return dense_linear(input, module.weight, module.bias)


def _layer_norm(module: nn.LayerNorm, input: Tensor) -> Tensor:  # noqa: A002 (torch's name)
    return dense_layer_norm(input, module.weight, module.bias, eps=module.eps)


# The forward that a module of torch's own gets while its parameters are stacked.
FORWARDS: Mapping[type[nn.Module], Callable[..., Tensor]] = {
    nn.Linear: _linear,
    WideLinear: _linear,
    nn.LayerNorm: _layer_norm,
}
# What PEFT computes otherwise with the same layers, DoRA and its kin, it notes here.
_VARIANTS = "lora_variant"


def can_batch(model: nn.Module, names: Collection[str]) -> bool:
    """Whether clients that train ``names`` can train in one step, by the types of the modules.

    A classification head, what a layer of ours adds that says so (``stacks_clients``), LoRA on
    linear layers, and biases and layer norms of the base model can. What mixes the rows of a batch,
    a parameter that lies in two places, and anything unknown cannot.
    """
    if not names or any(modules_of_type(model, _BatchNorm)):
        return False
    parameters = dict(model.named_parameters())
    places = Counter(id(tensor) for _, tensor in model.named_parameters(remove_duplicate=False))
    return len({parameters[name].dtype for name in names}) == 1 and all(
        places[id(parameters[name])] == 1 and _takes_stacked(model, name) for name in names
    )


@contextmanager
def stacked_forwards(model: nn.Module, names: Collection[str]) -> Iterator[None]:
    """Inside, torch's own modules among the owners of ``names`` take stacked parameters.

    Changes ``model`` for the duration: nobody else may use it meanwhile.
    """
    owners = {model.get_submodule(name.rpartition(".")[0]) for name in names}
    swapped = [module for module in owners if type(module) in FORWARDS]
    for module in swapped:
        module.forward = partial(FORWARDS[type(module)], module)
    try:
        yield
    finally:
        for module in swapped:
            del module.forward


def _takes_stacked(model: nn.Module, name: str) -> bool:
    """What decides is the innermost wrapper of PEFT around the parameter's owner, if any."""
    path, _, own = name.rpartition(".")
    owner = model.get_submodule(path)
    if "forward" in vars(owner):  # somebody else's already
        return False
    while path:
        path, _, child = path.rpartition(".")
        wrapper = model.get_submodule(path)
        if isinstance(wrapper, ModulesToSaveWrapper):
            return _is_plain(owner)
        if isinstance(wrapper, BaseTunerLayer) and child != "base_layer":
            return _adds_stacked(wrapper, owner)
    # The base model's own. Weights of linear layers stacked would be copies of the model.
    return _is_plain(owner) and (own == "bias" or type(owner) is nn.LayerNorm)


def _is_plain(owner: nn.Module) -> bool:
    one_dimension = len(getattr(owner, "normalized_shape", (0,))) == 1
    return type(owner) in FORWARDS and one_dimension


def _adds_stacked(layer: nn.Module, owner: nn.Module) -> bool:
    """Our layers declare it; of PEFT's, LoRA on linear layers can."""
    if type(layer) is LoRALinear:
        return type(owner) is nn.Linear and not getattr(layer, _VARIANTS, None)
    return bool(getattr(layer, "stacks_clients", False))
