"""Any PEFT config from a table of options, every name checked."""

from collections.abc import Mapping
from dataclasses import fields
from difflib import get_close_matches
from typing import Any

from peft.config import PeftConfig
from peft.mapping import PEFT_TYPE_TO_CONFIG_MAPPING

from fedtt.errors import ConfigError

# Not options of a method: whoever builds, loads or saves the adapter sets them.
_SET_ELSEWHERE = {
    "auto_mapping",
    "base_model_name_or_path",
    "inference_mode",
    "peft_type",
    "peft_version",
    "revision",
    "task_type",
}


def peft_config_from_table(
    peft_type: str, options: Mapping[str, Any], *, task_type: str | None
) -> PeftConfig:
    """The config of PEFT's method ``peft_type`` (as ``lora`` or ``LN_TUNING``) with ``options``.

    Raises:
        ConfigError: no such method, no such option, or values that PEFT refuses.
    """
    config_class = _config_class(peft_type)
    known = {f.name for f in fields(config_class) if f.init} - _SET_ELSEWHERE
    for name in options:
        if name not in known:
            raise ConfigError(
                f"{config_class.__name__} has no option {name}",
                where=f"peft:{peft_type}",
                got=name,
                expected=", ".join(sorted(known)),
                fix=_suggestion(name, known),
            )
    try:
        config: PeftConfig = config_class(task_type=task_type, **options)
    except ConfigError:
        raise
    except (TypeError, ValueError) as error:
        raise ConfigError(
            f"PEFT refuses these options of {config_class.__name__}",
            where=f"peft:{peft_type}",
            got=str(error),
            fix="see the class in PEFT's documentation",
        ) from error
    return config


def _config_class(peft_type: str) -> type[PeftConfig]:
    names = {str(member.value): cls for member, cls in PEFT_TYPE_TO_CONFIG_MAPPING.items()}
    wanted = peft_type.upper().replace("-", "_")
    if wanted not in names:
        raise ConfigError(
            "PEFT has no such method",
            where=f"peft:{peft_type}",
            got=peft_type,
            expected=", ".join(sorted(name.lower() for name in names)),
            fix=_suggestion(wanted.lower(), {name.lower() for name in names}),
        )
    found: type[PeftConfig] = names[wanted]
    return found


def _suggestion(name: str, known: set[str]) -> str | None:
    close = get_close_matches(name, sorted(known), n=1)
    return f"did you mean {close[0]}?" if close else None
