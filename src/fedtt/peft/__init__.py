"""The TT adapter as a PEFT tuner. Importing this package registers it with PEFT."""

from fedtt.peft.config import TTAdapterConfig
from fedtt.peft.exchange import ParameterKind, count_by_kind, exchanged_parameters
from fedtt.peft.layer import TTAdapterLayer, TTDenseLayer
from fedtt.peft.linear import TTLinear
from fedtt.peft.model import TTAdapterModel
from fedtt.peft.register import register

__all__ = [
    "ParameterKind",
    "TTAdapterConfig",
    "TTAdapterLayer",
    "TTAdapterModel",
    "TTDenseLayer",
    "TTLinear",
    "count_by_kind",
    "exchanged_parameters",
]

register()
