"""Regular expressions of module names, tried with a time limit before PEFT meets them.

Python's ``re`` backtracks and cannot be interrupted: ``(.+)+!`` against one name of a model takes
longer than anybody lives. So a pattern that repeats anything is first matched against every name in
a process of its own, which can be ended.
"""

import json
import re
import subprocess
import sys
from collections.abc import Iterator

from peft import PeftConfig
from torch import nn

from fedtt.errors import ConfigError

SECONDS = 5.0
# Of PEFT's fields those that are, or hold, regular expressions; of a table its keys.
_FIELDS = (
    "target_modules",
    "exclude_modules",
    "feedforward_modules",
    "layers_pattern",
    "modules_to_save",
    "rank_pattern",
    "alpha_pattern",
)
_TRY = r"""
import json, re, sys
pattern, names = json.load(sys.stdin)
whole, ending = re.compile(pattern), re.compile(rf"(?:.*\.)?(?:{pattern})(?:$|\..*)")
for name in names:
    whole.fullmatch(name)
    ending.match(name)
"""


def check_patterns(config: PeftConfig, model: nn.Module, *, seconds: float = SECONDS) -> None:
    """Raise :class:`ConfigError` for a pattern that is none, or takes longer than ``seconds``."""
    names: list[str] = []
    for field, pattern in _patterns(config):
        names = names or [f"base_model.model.{name}" for name, _ in model.named_modules()]
        problem = _problem(pattern, names, seconds=seconds)
        if problem is not None:
            raise ConfigError(
                problem,
                where=f"{type(config).__name__}.{field}",
                got=pattern if len(pattern) <= 80 else pattern[:77] + "...",
                fix="a list of names or their endings, or a pattern without repetitions inside "
                "repetitions",
            )


def _patterns(config: PeftConfig) -> Iterator[tuple[str, str]]:
    """Strings that repeat something, with their fields."""
    for field in _FIELDS:
        value = getattr(config, field, None) or ()
        strings = (value,) if isinstance(value, str) else tuple(value)
        yield from ((field, s) for s in strings if isinstance(s, str) and re.search(r"[*+{]", s))


def _problem(pattern: str, names: list[str], *, seconds: float) -> str | None:
    try:
        re.compile(pattern)
        done = subprocess.run(
            [sys.executable, "-I", "-S", "-c", _TRY],
            input=json.dumps([pattern, names]),
            text=True,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except (re.error, RecursionError, OverflowError) as error:
        return f"no regular expression: {error}"
    except subprocess.TimeoutExpired:
        return "the pattern takes too long to match the names of the model's modules"
    return None if done.returncode == 0 else "the pattern cannot be matched"
