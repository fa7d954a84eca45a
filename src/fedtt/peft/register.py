"""Registration of the TT adapter as a PEFT method."""

from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.utils import register_peft_method

from fedtt.peft.config import TTAdapterConfig
from fedtt.peft.model import TTAdapterModel
from fedtt.peft.peft_type import NAME, TT_ADAPTER


def register() -> None:
    """Tell PEFT the config, the model and the prefix of the TT adapter. Idempotent."""
    if TT_ADAPTER in PEFT_TYPE_TO_TUNER_MAPPING:
        return
    register_peft_method(
        name=NAME.lower(),
        config_cls=TTAdapterConfig,
        model_cls=TTAdapterModel,
        prefix=TTAdapterModel.prefix,
    )
