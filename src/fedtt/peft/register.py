"""Registration of adapters as PEFT methods."""

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_TUNER_MAPPING
from peft.tuners.tuners_utils import BaseTuner
from peft.utils import register_peft_method

from fedtt.peft.peft_type import peft_type


def register_adapter(name: str, *, config: type[PeftConfig], model: type[BaseTuner]) -> None:
    """Tell PEFT the config, the model and the prefix of an adapter. Idempotent.

    ``name`` is the one that ``config`` gives :func:`fedtt.peft.peft_type`, in capitals.
    """
    if peft_type(name) not in PEFT_TYPE_TO_TUNER_MAPPING:
        register_peft_method(
            name=name.lower(), config_cls=config, model_cls=model, prefix=model.prefix
        )
