"""What the configurations of adapters that add a matrix to linear layers have alike."""

from dataclasses import dataclass, field

from peft.config import PeftConfig


@dataclass(kw_only=True)
class AddedMatrixConfig(PeftConfig):  # type: ignore[misc]
    """Where such an adapter goes, and what is saved beside it."""

    target_modules: list[str] | str | None = field(
        default=None,
        metadata={
            "help": "Linear layers to adapt: names or name endings, one regular expression of "
            "whole names, or all-linear. None: those that LoRA takes for the architecture."
        },
    )
    modules_to_save: list[str] | None = field(
        default=None,
        metadata={
            "help": "Modules apart from the adapter that are trained and saved whole. PEFT adds "
            "the classification head for its classification tasks."
        },
    )
