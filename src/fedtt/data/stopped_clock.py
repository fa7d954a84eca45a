"""Chat templates that write the date (as Llama 3.2's), with a date that stays."""

from datetime import date, datetime, time

from fedtt.errors import ConfigError

CLOCK = "strftime_now"
_LETTERS = "aAbBcCdDefFgGhHIjklmMnpPrRsStTuUVwWxXyYzZ"
_FLAGS = ("", "-", "_", "0", "^", "#")
# A template's own macro goes before what transformers gives it by that name, which asks the clock.
# It reads the format letter by letter; what begins with "%" is looked up once it is complete.
_MACRO = (
    "{%- macro strftime_now(format) -%}"
    "{%- set day = DAY -%}{%- set seen = namespace(key='') -%}"
    "{%- for letter in format -%}"
    "{%- if seen.key -%}{%- set seen.key = seen.key ~ letter -%}"
    "{%- if seen.key in day -%}{{ day[seen.key] }}{%- set seen.key = '' -%}"
    "{%- elif letter not in FLAGS -%}{{ seen.key }}{%- set seen.key = '' -%}{%- endif -%}"
    "{%- elif letter == '%' -%}{%- set seen.key = '%' -%}"
    "{%- else -%}{{ letter }}{%- endif -%}"
    "{%- endfor -%}{{ seen.key }}"
    "{%- endmacro %}\n"
)


def stop_clock(template: str, *, today: date | None, name: str) -> str:
    """The template, writing the beginning of ``today`` where it asks for the time.

    Raises :class:`ConfigError` where it asks and ``today`` is None; ``name`` is the model's.
    """
    if CLOCK not in template:
        return template
    if today is None:
        raise ConfigError(
            "the chat template writes today's date, and the run has none: its texts would change "
            "from day to day",
            where=f"chat template of {name}",
            got=f"{CLOCK}, and no task.date (a run of fedtt 0.1.0 or earlier saved none)",
            expected="the day on which the run began",
            fix='task.date = "YYYY-MM-DD"; of an earlier run, in its config.toml',
        )
    moment = datetime.combine(today, time())
    day = {
        f"%{flag}{letter}": moment.strftime(f"%{flag}{letter}")
        for flag in _FLAGS
        for letter in _LETTERS
    }
    flags = "".join(_FLAGS)
    return _MACRO.replace("DAY", repr({**day, "%%": "%"})).replace("FLAGS", repr(flags)) + template
