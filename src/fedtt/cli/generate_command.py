"""``fedtt generate``: a run's model, writing."""

import sys
from pathlib import Path

from fedtt.cli.console import escape_controls, print_json
from fedtt.cli.saved_run_commands import note_state
from fedtt.run_place import check_run


def generate_command(
    run: Path,
    prompt: str,
    *,
    max_new_tokens: int,
    temperature: float,
    top_p: float,
    seed: int,
    as_json: bool,
) -> None:
    """Print what the model writes after the prompt, as it writes it."""
    check_run(run)
    from fedtt.experiment import Sampling, generate_text

    note_state(run)
    sampling = Sampling(
        max_new_tokens=max_new_tokens, temperature=temperature, top_p=top_p, seed=seed
    )
    text = generate_text(run, prompt, sampling=sampling, say=_ignore if as_json else _say)
    if as_json:
        print_json({"prompt": prompt, "text": text})
    else:
        _say("\n")


def _say(text: str) -> None:
    sys.stdout.write(escape_controls(text))
    sys.stdout.flush()


def _ignore(text: str) -> None:
    """Nothing: the whole text is printed at the end."""
