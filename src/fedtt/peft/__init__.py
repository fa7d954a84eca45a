"""Adapters as PEFT tuners. Importing this package registers those that PEFT lacks with it."""

from fedtt.peft.bottleneck import BottleneckAdapterLayer, BottleneckAdapterModel, DenseLinear
from fedtt.peft.bottleneck_config import BottleneckAdapterConfig
from fedtt.peft.config import TTAdapterConfig
from fedtt.peft.exchange import ParameterKind, count_by_kind, exchanged_parameters
from fedtt.peft.freeze import freeze_lora_a
from fedtt.peft.full import FullConfig, FullModel
from fedtt.peft.layer import TTAdapterLayer, TTDenseLayer
from fedtt.peft.linear import TTLinear
from fedtt.peft.lora_xs import LoRAXSLayer, LoRAXSModel
from fedtt.peft.lora_xs_config import LoRAXSConfig
from fedtt.peft.model import TTAdapterModel
from fedtt.peft.register import register

__all__ = [
    "BottleneckAdapterConfig",
    "BottleneckAdapterLayer",
    "BottleneckAdapterModel",
    "DenseLinear",
    "FullConfig",
    "FullModel",
    "LoRAXSConfig",
    "LoRAXSLayer",
    "LoRAXSModel",
    "ParameterKind",
    "TTAdapterConfig",
    "TTAdapterLayer",
    "TTAdapterModel",
    "TTDenseLayer",
    "TTLinear",
    "count_by_kind",
    "exchanged_parameters",
    "freeze_lora_a",
]

register()
