"""The tuner: finds the layers of a model and puts the TT adapter beside them."""

import re
from typing import Any

from peft.tuners.tuners_utils import BaseTuner
from torch import nn

from fedtt.errors import ConfigError
from fedtt.peft.added_layer import AddedLayer
from fedtt.peft.anatomy import classifier_dense_name
from fedtt.peft.head import narrow_modules_to_save, wrap_whole_names
from fedtt.peft.register import register_adapter
from fedtt.peft.residual_adapter import AdapterSettings
from fedtt.peft.residual_tuner import ResidualAdapterModel
from fedtt.peft.tt_adapter_config import TTAdapterConfig
from fedtt.peft.tt_adapter_layer import TTAdapterLayer, TTDenseLayer
from fedtt.peft.tt_layer_shapes import adapter_shapes, dense_shape, initializer_range, known_width


class TTAdapterModel(ResidualAdapterModel):
    """PEFT's tuner for :class:`TTAdapterConfig`; made by ``get_peft_model``."""

    prefix = "tt_adapter_"

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
        model_config: dict[str, Any],
    ) -> TTAdapterConfig:
        """Fill in, in place as PEFT expects, what the config left to the model."""
        super()._prepare_adapter_config(peft_config, model_config)
        if peft_config.tensorize_classifier:
            dense = classifier_dense_name(self.model, suffix=peft_config.classifier_dense)
            peft_config.classifier_dense = dense
            peft_config.modules_to_save = narrow_modules_to_save(
                peft_config.modules_to_save, dense=dense, model=self.model
            )
        return peft_config

    def _check_fits(self, peft_config: TTAdapterConfig, module: nn.Module, name: str) -> None:
        if _is_dense(peft_config, name):
            dense_shape(module, peft_config, name=name)
        else:
            adapter_shapes(known_width(module, name=name), peft_config)

    @staticmethod
    def _check_target_module_exists(
        peft_config: TTAdapterConfig, key: str
    ) -> bool | re.Match[str] | None:
        if _is_dense(peft_config, key):
            return True
        found: bool | re.Match[str] | None = BaseTuner._check_target_module_exists(peft_config, key)
        return found

    def layer_around(self, config: TTAdapterConfig, target: nn.Module, name: str) -> AddedLayer:
        """The layer of a projection, or of the classifier's dense layer."""
        return TTDenseLayer(target) if _is_dense(config, name) else TTAdapterLayer(target)

    def add_to(self, layer: Any, adapter_name: str, config: TTAdapterConfig, name: str) -> None:
        """Add the TT layers that ``config`` describes."""
        if _is_dense(config, name):
            std = initializer_range(self.model)
            layer.add_adapter(adapter_name, shape=dense_shape(layer, config, name=name), std=std)
            return
        down, up = adapter_shapes(known_width(layer, name=name), config)
        layer.add_adapter(
            adapter_name,
            down=down,
            up=up,
            bias=config.bias,
            identity=config.init_weights,
            settings=AdapterSettings.of(config),
        )


def _is_dense(config: TTAdapterConfig, name: str) -> bool:
    return config.tensorize_classifier and name == config.classifier_dense


register_adapter("TT_ADAPTER", config=TTAdapterConfig, model=TTAdapterModel)
