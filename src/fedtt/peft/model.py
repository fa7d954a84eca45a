"""The tuner: finds the layers of a model and puts the TT adapter beside them."""

import re
from collections.abc import Mapping
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from peft.utils import AuxiliaryTrainingWrapper
from torch import Tensor, nn

from fedtt.errors import ConfigError
from fedtt.peft.anatomy import classifier_dense_name, projection_pattern
from fedtt.peft.config import TTAdapterConfig
from fedtt.peft.fit import adapter_shapes, dense_shape, initializer_range, known_width
from fedtt.peft.head import narrow_modules_to_save, wrap_whole_names
from fedtt.peft.layer import (
    AdapterSettings,
    TTAdapterLayer,
    TTDenseLayer,
    TTTunerLayer,
    merge_refusal,
)


class TTAdapterModel(BaseTuner):  # type: ignore[misc]
    """PEFT's tuner for :class:`TTAdapterConfig`; made by ``get_peft_model``.

    PEFT's own handling of ``bias`` is replaced throughout: there it is a string that unfreezes
    biases of the base model, here a bool that says whether the TT layers have biases.
    """

    prefix = "tt_adapter_"
    tuner_layer_cls = TTTunerLayer
    target_module_mapping: Mapping[str, list[str]] = {}

    def inject_adapter(
        self, model: nn.Module, adapter_name: str, *args: Any, **kwargs: Any
    ) -> None:
        """Put the adapter into ``model``, which it changes; see PEFT for the arguments."""
        super().inject_adapter(model, adapter_name, *args, **kwargs)
        config = self.peft_config[adapter_name]
        wrap_whole_names(
            config.modules_to_save or (),
            model=model,
            adapter_name=adapter_name,
            active=adapter_name in self.active_adapters,
            frozen=config.inference_mode,
        )

    def disable_adapter_layers(self) -> None:
        """Make the model compute exactly what the base model does."""
        self._enable_adapter_layers(enabled=False)

    def _check_new_adapter_config(self, config: TTAdapterConfig) -> None:
        others = {other.tensorize_classifier for other in self.peft_config.values()}
        if len(others) > 1:
            raise ConfigError(
                "the adapters of one model must agree on the classifier",
                where="TTAdapterConfig.tensorize_classifier",
                got=config.tensorize_classifier,
                expected=f"{not config.tensorize_classifier}, as the adapters already there",
                fix="load the adapters into two copies of the base model",
            )

    def _prepare_adapter_config(
        self,
        peft_config: TTAdapterConfig,
        model_config: dict[str, Any],  # noqa: ARG002 (PEFT's signature)
    ) -> TTAdapterConfig:
        """Fill in, in place as PEFT expects, what the config left to the model."""
        if peft_config.target_modules is None:
            peft_config.target_modules = projection_pattern(self.model)
        if peft_config.tensorize_classifier:
            dense = classifier_dense_name(self.model, suffix=peft_config.classifier_dense)
            peft_config.classifier_dense = dense
            peft_config.modules_to_save = narrow_modules_to_save(
                peft_config.modules_to_save, dense=dense, model=self.model
            )
        return peft_config

    def _prepare_model(self, peft_config: TTAdapterConfig, model: nn.Module) -> None:
        """Raise what is wrong with any layer before the first one is changed."""
        for name, module in model.named_modules():
            if peft_config.tensorize_classifier and name == peft_config.classifier_dense:
                dense_shape(module, peft_config, name=name)
            elif name and self._check_target_module_exists(peft_config, name):
                adapter_shapes(known_width(module, name=name), peft_config)

    @staticmethod
    def _check_target_module_exists(
        peft_config: TTAdapterConfig, key: str
    ) -> bool | re.Match[str] | None:
        if peft_config.tensorize_classifier and key == peft_config.classifier_dense:
            return True
        found: bool | re.Match[str] | None = BaseTuner._check_target_module_exists(peft_config, key)
        return found

    def _create_and_replace(  # noqa: PLR0917 (PEFT's signature)
        self,
        peft_config: TTAdapterConfig,
        adapter_name: str,
        target: nn.Module,
        target_name: str,
        parent: nn.Module,
        current_key: str,
        parameter_name: str | None = None,  # noqa: ARG002 (PEFT's signature)
    ) -> None:
        dense = peft_config.tensorize_classifier and current_key == peft_config.classifier_dense
        add = self._add_dense if dense else self._add_adapter
        if isinstance(target, TTTunerLayer):
            add(target, adapter_name, peft_config, current_key)
            return
        layer = TTDenseLayer(target) if dense else TTAdapterLayer(target)
        add(layer, adapter_name, peft_config, current_key)
        self._replace_module(parent, target_name, layer, target)

    @staticmethod
    def _add_adapter(
        layer: TTTunerLayer, adapter_name: str, config: TTAdapterConfig, name: str
    ) -> None:
        assert isinstance(layer, TTAdapterLayer)
        down, up = adapter_shapes(known_width(layer, name=name), config)
        layer.add_adapter(
            adapter_name,
            down=down,
            up=up,
            bias=config.bias,
            identity=config.init_weights,
            settings=AdapterSettings(
                activation=config.activation, dropout=config.dropout, scaling=config.scaling
            ),
        )

    def _add_dense(
        self, layer: TTTunerLayer, adapter_name: str, config: TTAdapterConfig, name: str
    ) -> None:
        assert isinstance(layer, TTDenseLayer)
        layer.add_adapter(
            adapter_name,
            shape=dense_shape(layer, config, name=name),
            std=initializer_range(self.model),
        )

    def _replace_module(
        self,
        parent: nn.Module,
        child_name: str,
        new_module: nn.Module,
        child: nn.Module,  # noqa: ARG002 (PEFT's signature)
    ) -> None:
        # PEFT's own looks for a `weight` too: to move the adapter, which tuner layers do, and to
        # copy it in unload(), where a whole classification head has none.
        setattr(parent, child_name, new_module)

    def _mark_only_adapters_as_trainable(self, model: nn.Module) -> None:
        managed = set()
        for module in model.modules():
            if isinstance(module, AuxiliaryTrainingWrapper):
                managed |= {id(parameter) for parameter in module.parameters()}
            elif isinstance(module, TTTunerLayer):
                layers = (getattr(module, name) for name in module.adapter_layer_names)
                managed |= {id(parameter) for layer in layers for parameter in layer.parameters()}
        for parameter in model.parameters():
            if id(parameter) not in managed:
                parameter.requires_grad = False

    def _cast_adapter_dtype(self, adapter_name: str, autocast_adapter_dtype: bool = True) -> None:  # noqa: FBT001, FBT002 (PEFT's signature)
        super()._cast_adapter_dtype(adapter_name, autocast_adapter_dtype)
        if not autocast_adapter_dtype:
            for module in self.model.modules():
                if isinstance(module, TTTunerLayer):
                    module.cast_adapter(adapter_name)

    def _check_merge_allowed(self) -> None:
        raise merge_refusal()

    @classmethod
    def _get_learnable_bias_state_dict(
        cls,
        model: nn.Module,  # noqa: ARG003 (PEFT's signature)
        state_dict: dict[str, Tensor],  # noqa: ARG003
        config: TTAdapterConfig,  # noqa: ARG003
    ) -> dict[str, Tensor]:
        return {}
