"""Registration of our adapters as PEFT methods."""

from typing import Any

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import register_peft_method

from fedtt.peft.bottleneck import BottleneckAdapterModel
from fedtt.peft.bottleneck_config import BottleneckAdapterConfig
from fedtt.peft.full import FullConfig, FullModel
from fedtt.peft.lora_xs import LoRAXSModel
from fedtt.peft.lora_xs_config import LoRAXSConfig
from fedtt.peft.peft_type import BOTTLENECK_ADAPTER, FULL, LORA_XS, TT_ADAPTER
from fedtt.peft.tt_adapter import TTAdapterModel
from fedtt.peft.tt_adapter_config import TTAdapterConfig

_METHODS: dict[Any, tuple[type[PeftConfig], type[BaseTuner]]] = {
    TT_ADAPTER: (TTAdapterConfig, TTAdapterModel),
    BOTTLENECK_ADAPTER: (BottleneckAdapterConfig, BottleneckAdapterModel),
    LORA_XS: (LoRAXSConfig, LoRAXSModel),
    FULL: (FullConfig, FullModel),
}


def register() -> None:
    """Tell PEFT the config, the model and the prefix of each of our adapters. Idempotent."""
    for peft_type, (config_cls, model_cls) in _METHODS.items():
        if peft_type not in PEFT_TYPE_TO_TUNER_MAPPING:
            register_peft_method(
                name=str(peft_type.value).lower(),
                config_cls=config_cls,
                model_cls=model_cls,
                prefix=model_cls.prefix,
            )
