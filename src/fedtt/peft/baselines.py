"""The baselines that PEFT itself offers: one function each, from plain arguments to a config.

Compared under federation in FedPETuning (Zhang et al., Findings of ACL 2023). For classification
tasks PEFT adds the head to what every one of them trains. Put the config into a model with
:func:`fedtt.peft.adapt`, which raises where PEFT would train something else than was asked for.
"""

from collections.abc import Sequence

from peft import (
    IA3Config,
    LoraConfig,
    PrefixTuningConfig,
    PromptEncoderConfig,
    PromptTuningConfig,
    PromptTuningInit,
    VeraConfig,
)
from peft.utils.constants import DUMMY_TARGET_MODULES

from fedtt.errors import ConfigError
from fedtt.peft.full import FullConfig
from fedtt.peft.sizes import MOST_WIDTH


def full_config(task_type: str | None) -> FullConfig:
    """Full fine-tuning: every parameter of the base model."""
    return FullConfig(task_type=task_type)


def head_config(
    task_type: str | None, *, modules_to_save: Sequence[str] | None = None
) -> LoraConfig:
    """The head only: LoRA on no layer at all, and PEFT's ``modules_to_save``.

    For a task to which PEFT adds no head, ``modules_to_save`` names what is trained.

    Raises:
        ConfigError: nothing would be trained.
    """
    if task_type not in ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS") and not modules_to_save:
        raise ConfigError(
            "this task has no head of its own to train",
            where="head_config.task_type",
            got=task_type,
            expected="SEQ_CLS, TOKEN_CLS or QUESTION_ANS",
            fix='name the modules to train whole, for instance modules_to_save=["lm_head"]',
        )
    return _no_lora(task_type, modules_to_save=modules_to_save, bias="none")


def bitfit_config(task_type: str | None) -> LoraConfig:
    """BitFit (arXiv 2106.10199): every bias of the base model, in place, and no weight.

    LoRA on no layer, with ``bias="all"``. The biases of the base model itself move: disabling the
    adapter does not give the base model back.
    """
    return _no_lora(task_type, modules_to_save=None, bias="all")


def prompt_config(
    task_type: str | None, *, num_tokens: int = 20, init: str = "vocabulary"
) -> PromptTuningConfig:
    """Prompt tuning (arXiv 2104.08691): ``num_tokens`` trained embeddings before the text.

    ``init`` is ``vocabulary`` (embeddings of random tokens, the paper's better one) or ``random``
    (standard normal, PEFT's default, far larger than any embedding of a pretrained model).

    Raises:
        ConfigError: another ``init``, or no token.
    """
    starts = {"vocabulary": PromptTuningInit.SAMPLE_VOCAB, "random": PromptTuningInit.RANDOM}
    if init not in starts:
        raise ConfigError(
            "a prompt cannot start like that",
            where="prompt_config.init",
            got=init,
            expected=" or ".join(starts),
        )
    return PromptTuningConfig(
        task_type=task_type,
        num_virtual_tokens=_positive(num_tokens, "prompt_config.num_tokens"),
        prompt_tuning_init=starts[init],
    )


def prefix_config(
    task_type: str | None, *, num_tokens: int = 20, projection: int | None = None
) -> PrefixTuningConfig:
    """Prefix tuning (arXiv 2101.00190): trained keys and values before every layer's own.

    ``projection`` is the width of the two-layer network that the prefix then comes out of while it
    is trained; what is saved is the prefix alone.

    Raises:
        ConfigError: no token, or a projection without width.
    """
    width = None if projection is None else _positive(projection, "prefix_config.projection")
    return PrefixTuningConfig(
        task_type=task_type,
        num_virtual_tokens=_positive(num_tokens, "prefix_config.num_tokens"),
        prefix_projection=width is not None,
        encoder_hidden_size=width,
    )


def p_tuning_config(
    task_type: str | None, *, num_tokens: int = 20, width: int = 128
) -> PromptEncoderConfig:
    """P-tuning (arXiv 2103.10385): a prompt that comes out of a three-layer network.

    All of the network of that ``width`` is trained and exchanged; what is saved is the prompt.

    Raises:
        ConfigError: no token, or no width.
    """
    return PromptEncoderConfig(
        task_type=task_type,
        num_virtual_tokens=_positive(num_tokens, "p_tuning_config.num_tokens"),
        encoder_hidden_size=_positive(width, "p_tuning_config.width"),
    )


def ia3_config(
    task_type: str | None,
    *,
    target_modules: Sequence[str] | None = None,
    feedforward_modules: Sequence[str] | None = None,
) -> IA3Config:
    """IA3 (arXiv 2205.05638): one factor for every key, value and inner feed-forward feature.

    Of the ``target_modules`` the ``feedforward_modules`` have their input scaled, the others their
    output. ``None``: PEFT's own for the architecture.
    """
    return IA3Config(
        task_type=task_type,
        target_modules=None if target_modules is None else list(target_modules),
        feedforward_modules=None if feedforward_modules is None else list(feedforward_modules),
    )


def vera_config(
    task_type: str | None,
    *,
    r: int = 256,
    seed: int = 0,
    target_modules: Sequence[str] | None = None,
    save_projection: bool = True,
) -> VeraConfig:
    """VeRA (arXiv 2310.11454): two trained vectors a layer around one shared random pair.

    The pair is drawn from ``seed``, the same at every client, and is never exchanged; it is in the
    saved adapter unless ``save_projection`` is off, when PEFT draws it again (and warns).

    Raises:
        ConfigError: a rank below 1.
    """
    return VeraConfig(
        task_type=task_type,
        r=_positive(r, "vera_config.r"),
        projection_prng_key=seed,
        save_projection=save_projection,
        target_modules=None if target_modules is None else list(target_modules),
    )


def _no_lora(
    task_type: str | None, *, modules_to_save: Sequence[str] | None, bias: str
) -> LoraConfig:
    return LoraConfig(
        task_type=task_type,
        target_modules=DUMMY_TARGET_MODULES,
        modules_to_save=None if modules_to_save is None else list(modules_to_save),
        bias=bias,
    )


def _positive(value: int, where: str) -> int:
    if not 1 <= value <= MOST_WIDTH:
        raise ConfigError(
            f"{where.rpartition('.')[2]} is out of range",
            where=where,
            got=value,
            expected=f"a positive integer, at most {MOST_WIDTH:,}",
        )
    return value
