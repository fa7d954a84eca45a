"""What the tuners of residual adapters, TT and dense, do alike."""

from abc import abstractmethod
from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from fedtt.errors import ModelError
from fedtt.peft.added_layer import AddedLayer, merge_refusal
from fedtt.peft.added_layer_tuner import AddedLayerModel
from fedtt.peft.anatomy import projection_pattern
from fedtt.peft.modules_of_type import modules_of_type


class ResidualAdapterModel(AddedLayerModel):
    """PEFT's tuner for adapters after the output projections of attention and MLP.

    PEFT's own handling of ``bias`` is replaced throughout: there it is a string that unfreezes
    biases of the base model, here a bool that says whether the adapter's layers have biases.
    """

    tuner_layer_cls = AddedLayer
    target_module_mapping: Mapping[str, list[str]] = {}

    def disable_adapter_layers(self) -> None:
        """Make the model compute exactly what the base model does."""
        self._enable_adapter_layers(enabled=False)

    def _check_new_adapter_config(self, config: Any) -> None:
        """Nothing: adapters of one model need not agree."""

    def _prepare_adapter_config(
        self,
        peft_config: Any,
        model_config: dict[str, Any],  # noqa: ARG002 (PEFT's signature)
    ) -> Any:
        """Fill in, in place as PEFT expects, what the config left to the model."""
        if peft_config.target_modules is None:
            peft_config.target_modules = projection_pattern(
                self.model, config_name=type(peft_config).__name__
            )
        return peft_config

    def _prepare_model(self, peft_config: Any, model: nn.Module) -> None:
        """Raise what is wrong with any layer before the first one is changed."""
        targets = {
            name: module
            for name, module in model.named_modules(remove_duplicate=False)
            if name and self._check_target_module_exists(peft_config, name)
        }
        _check_not_shared(targets, model)
        for name, module in targets.items():
            self._check_fits(peft_config, module, name)

    @abstractmethod
    def _check_fits(self, peft_config: Any, module: nn.Module, name: str) -> None:
        """Raise for a targeted layer that the adapter does not go with."""

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        managed = {
            id(parameter)
            for _, wrapper in modules_of_type(model, AuxiliaryTrainingWrapper)
            for parameter in wrapper.parameters()
        }
        for _, module in modules_of_type(model, AddedLayer):
            layers = (getattr(module, name) for name in module.adapter_layer_names)
            managed |= {id(parameter) for layer in layers for parameter in layer.parameters()}
        for parameter in model.parameters():
            if id(parameter) not in managed:
                parameter.requires_grad = False

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:  # noqa: FBT001, FBT002 (PEFT's signature)
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if not autocast_adapter_dtype:
            for _, module in modules_of_type(self.model, AddedLayer):
                module.cast_adapter(adapter_name)

    def _check_merge_allowed(self) -> None:
        raise merge_refusal()

    @classmethod
    def _get_learnable_bias_state_dict(
        cls,
        model: nn.Module,  # noqa: ARG003 (PEFT's signature)
        state_dict: dict[str, Tensor],  # noqa: ARG003
        config: Any,  # noqa: ARG003
    ) -> dict[str, Tensor]:
        return {}


def _check_not_shared(targets: Mapping[str, nn.Module], model: nn.Module) -> None:
    """Raise :class:`ModelError` for a layer that lies in several modules: one would be replaced.

    A whole block that is used again (ALBERT's) is one module, and adapted wherever it is used.
    """
    places: dict[nn.Module, dict[nn.Module, str]] = defaultdict(dict)
    for name, module in targets.items():
        parent = model.get_submodule(name.rpartition(".")[0])
        places[module].setdefault(parent, name)
    for parents in places.values():
        if len(parents) > 1:
            raise ModelError(
                "several modules share a layer that the adapter targets",
                where=", ".join(parents.values()),
                expected="a layer of its own for every adapter",
                fix="give every module its own copy of the layer, or name other target_modules",
            )
