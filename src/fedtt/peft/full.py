"""Full fine-tuning in the form of a PEFT tuner, so that it goes through the same loop."""

from collections import defaultdict
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any, ClassVar

from peft.config import PeftConfig
from peft.tuners.tuners_utils import BaseTuner, BaseTunerLayer
from peft.utils import AuxiliaryTrainingWrapper
from peft.utils.constants import DUMMY_TARGET_MODULES
from torch import Tensor, nn

from fedtt.errors import ConfigError, ModelError
from fedtt.peft.kinds import ParameterKind
from fedtt.peft.modules_of_type import modules_of_type
from fedtt.peft.peft_type import peft_type
from fedtt.peft.register import register_adapter
from fedtt.peft.traits import Traits


@dataclass(kw_only=True)
class FullConfig(PeftConfig):  # type: ignore[misc]
    """Train every parameter of the base model, in place, and save them all as the adapter.

    PEFT's own way, ``modules_to_save``, trains a copy of each module, and copies of tied weights
    drift apart. Here tied weights are one parameter, sent once. For classification tasks PEFT
    trains a copy of the head; its original, which nothing reads, stays frozen.
    """

    traits: ClassVar[Traits] = Traits(needs_base_weights=True)

    target_modules: str = field(
        default=DUMMY_TARGET_MODULES, metadata={"help": "No module is wrapped: leave it as it is."}
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={"help": "PEFT adds the classification head for its classification tasks."},
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        self.peft_type = peft_type("FULL")


class FullModel(BaseTuner):  # type: ignore[misc]
    """PEFT's tuner for :class:`FullConfig`; made by ``get_peft_model``."""

    prefix = "full_"
    added_kind = ParameterKind.BASE
    tuner_layer_cls = BaseTunerLayer

    def disable_adapter_layers(self) -> None:
        """Refused: the weights of the base model are overwritten. Raises :class:`ModelError`."""
        raise ModelError(
            "full fine-tuning cannot be disabled",
            where="disable_adapter",
            got="base weights that were trained in place",
            fix="load the base model again",
        )

    def _enable_peft_forward_hooks(
        self, *_: Any, adapter_names: Sequence[str] | None = None, **__: Any
    ) -> AbstractContextManager[None]:
        if adapter_names is not None:
            raise ModelError(
                "a model that was fine-tuned in place has no adapters to choose by row",
                where="adapter_names",
                got=", ".join(adapter_names),
                fix="leave adapter_names out",
            )
        return nullcontext()

    def _check_new_adapter_config(self, config: FullConfig) -> None:  # noqa: ARG002 (PEFT's signature)
        if len(self.peft_config) > 1:
            raise ConfigError(
                "a model can be fully fine-tuned only once",
                where="FullConfig",
                got=", ".join(self.peft_config),
                fix="load the second one into another copy of the base model",
            )

    def _create_and_replace(self, *args: Any, **kwargs: Any) -> None:
        """Nothing: no module is wrapped."""

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        frozen = any(config.inference_mode for config in self.peft_config.values())
        managed = _managed_elsewhere(model)
        for name, parameter in model.named_parameters():
            if name not in managed:
                parameter.requires_grad = parameter.is_floating_point() and not frozen

    @classmethod
    def _get_adapter_state_dict(
        cls,
        model: nn.Module,
        config: FullConfig,  # noqa: ARG003 (PEFT's signature)
        adapter_name: str,  # noqa: ARG003
        state_dict: dict[str, Tensor],
        unwanted_adapter_names: list[str],  # noqa: ARG003
    ) -> dict[str, Tensor]:
        managed = _managed_elsewhere(model)
        names = [name for name, _ in model.named_parameters() if name not in managed]
        return {name: state_dict[name] for name in names}

    @classmethod
    def _remap_adapter_state_dict_for_load(
        cls,
        model: nn.Module,
        config: FullConfig,  # noqa: ARG003 (PEFT's signature)
        adapter_name: str,  # noqa: ARG003
        state_dict: dict[str, Tensor],
    ) -> dict[str, Tensor]:
        # Loading by assignment would leave the other names of a tied weight at its old value.
        names_of = defaultdict(list)
        for name, parameter in model.named_parameters(remove_duplicate=False):
            names_of[id(parameter)].append(name)
        others = {names[0]: names[1:] for names in names_of.values()}
        loaded = dict(state_dict)
        for name, tensor in state_dict.items():
            loaded.update(dict.fromkeys(others.get(name, ()), tensor))
        return loaded

    @classmethod
    def _remove_adapter_name_from_key(cls, key: str, adapter_name: str) -> str:  # noqa: ARG003
        return key


def _managed_elsewhere(model: nn.Module) -> set[str]:
    """Names of the parameters inside PEFT's own wrappers, the trained head's among them."""
    return {
        f"{name}.{parameter_name}"
        for name, module in modules_of_type(model, AuxiliaryTrainingWrapper)
        for parameter_name, _ in module.named_parameters()
    }


register_adapter("FULL", config=FullConfig, model=FullModel)
