"""Prompts, prefixes and p-tuning, averaged; the prompts are PEFT's."""

from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import Field

from fedtt.methods.entry import MethodEntry, MethodSection, Setting, averaged
from fedtt.section import Width

if TYPE_CHECKING:
    from fedtt.federated.method import Method


class PromptConfig(MethodSection):
    """``[method]`` of the methods that train virtual tokens."""

    num_tokens: Width = Field(20, description="virtual tokens")


def build_prompt(section: PromptConfig, setting: Setting) -> "Method":
    """Embeddings before the text."""
    from fedtt.peft import prompt_config

    return averaged(prompt_config(setting.task_type, num_tokens=section.num_tokens), setting)


def build_prefix(section: PromptConfig, setting: Setting) -> "Method":
    """Keys and values before those of every layer."""
    from fedtt.peft import prefix_config

    return averaged(prefix_config(setting.task_type, num_tokens=section.num_tokens), setting)


def build_p_tuning(section: PromptConfig, setting: Setting) -> "Method":
    """Embeddings that come out of a small network."""
    from fedtt.peft import p_tuning_config

    return averaged(p_tuning_config(setting.task_type, num_tokens=section.num_tokens), setting)


PROMPT = MethodEntry(
    section=PromptConfig,
    adapter="virtual tokens",
    sends="all",
    aggregation="mean",
    reference="arXiv 2104.08691",
    build=build_prompt,
)
PREFIX = replace(PROMPT, reference="arXiv 2101.00190", build=build_prefix)
P_TUNING = replace(PROMPT, reference="arXiv 2103.10385", build=build_p_tuning)
