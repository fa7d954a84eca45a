"""Chat templates of the shape that real families have, and tiny models that read them.

Written for these tests, after how the families write conversations; none is a copy.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import torch
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast


@dataclass(frozen=True, kw_only=True)
class Family:
    """A family's template and special tokens.

    ``end`` ends a turn, ``eos`` is the tokenizer's end token, ``opened`` how the assistant's turn
    begins after the user's ``hi``, ``learned`` what is written of the turn ``ho``.
    """

    template: str
    eos: str
    end: str
    opened: str
    learned: str
    bos: str | None = None
    specials: tuple[str, ...] = ()
    plain: tuple[str, ...] = ()  # added tokens that are not special
    metaspace: bool = False
    takes_system: bool = True


CHATML = (
    "{%- for m in messages -%}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor -%}"
    "{%- if add_generation_prompt -%}<|im_start|>assistant\n{% endif -%}"
)

FAMILIES: Mapping[str, Family] = {
    # The system part says the date; two line ends close a header.
    "llama3": Family(
        template=(
            "{{- bos_token -}}"
            "{%- if date_string is not defined -%}"
            "{%- if strftime_now is defined -%}{%- set date_string = strftime_now('%d %b %Y') -%}"
            "{%- else -%}{%- set date_string = '26 Jul 2024' -%}{%- endif -%}{%- endif -%}"
            "{%- if messages[0].role == 'system' -%}"
            "{%- set system = messages[0].content | trim -%}{%- set messages = messages[1:] -%}"
            "{%- else -%}{%- set system = '' -%}{%- endif -%}"
            "{{- '<|start_header_id|>system<|end_header_id|>\n\nToday Date: ' + date_string"
            " + '\n\n' + system + '<|eot_id|>' -}}"
            "{%- for m in messages -%}"
            "{{- '<|start_header_id|>' + m.role + '<|end_header_id|>\n\n'"
            " + m.content | trim + '<|eot_id|>' -}}{%- endfor -%}"
            "{%- if add_generation_prompt -%}"
            "{{- '<|start_header_id|>assistant<|end_header_id|>\n\n' -}}{%- endif -%}"
        ),
        bos="<|begin_of_text|>",
        eos="<|end_of_text|>",
        end="<|eot_id|>",
        specials=("<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"),
        opened="<|start_header_id|>assistant<|end_header_id|>\n\n",
        learned="ho<|eot_id|>",
    ),
    "qwen2.5": Family(
        template=(
            "{%- if messages[0].role != 'system' -%}"
            "<|im_start|>system\nYou help.<|im_end|>\n{% endif -%}" + CHATML
        ),
        eos="<|im_end|>",
        end="<|im_end|>",
        specials=("<|endoftext|>", "<|im_start|>"),
        opened="<|im_start|>assistant\n",
        learned="ho<|im_end|>",
    ),
    # Thoughts of earlier turns are left out; the last turn has a place for them, if empty.
    "qwen3": Family(
        template=(
            "{%- for m in messages -%}"
            "{{- '<|im_start|>' + m.role + '\n' -}}"
            "{%- if m.role == 'assistant' -%}"
            "{%- set content = m.content -%}{%- set thought = '' -%}"
            "{%- if m.reasoning_content is string -%}{%- set thought = m.reasoning_content -%}"
            "{%- elif '</think>' in content -%}"
            "{%- set thought = content.split('</think>')[0].split('<think>')[-1] -%}"
            "{%- set content = content.split('</think>')[-1].lstrip('\n') -%}{%- endif -%}"
            "{%- if loop.last -%}"
            "{{- '<think>\n' + thought.strip('\n') + '\n</think>\n\n' -}}{%- endif -%}"
            "{{- content.lstrip('\n') -}}"
            "{%- else -%}{{- m.content -}}{%- endif -%}"
            "{{- '<|im_end|>\n' -}}{%- endfor -%}"
            "{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%}"
        ),
        eos="<|im_end|>",
        end="<|im_end|>",
        specials=("<|endoftext|>", "<|im_start|>"),
        plain=("<think>", "</think>"),
        opened="<|im_start|>assistant\n",
        learned="<think>\n\n</think>\n\nho<|im_end|>",
    ),
    # No system role, turns in order, the assistant called "model"; pieces of text as tokens.
    "gemma": Family(
        template=(
            "{{- bos_token -}}"
            "{%- if messages[0].role == 'system' -%}"
            "{{- raise_exception('System role not supported') -}}{%- endif -%}"
            "{%- for m in messages -%}"
            "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
            "{{- raise_exception('Roles must alternate user/assistant/user/...') -}}{%- endif -%}"
            "{{- '<start_of_turn>' + ('model' if m.role == 'assistant' else m.role) + '\n'"
            " + m.content | trim + '<end_of_turn>\n' -}}{%- endfor -%}"
            "{%- if add_generation_prompt -%}{{- '<start_of_turn>model\n' -}}{%- endif -%}"
        ),
        bos="<bos>",
        eos="<eos>",
        end="<end_of_turn>",
        specials=("<start_of_turn>", "<end_of_turn>"),
        plain=("\n\n",),
        metaspace=True,
        takes_system=False,
        opened="<start_of_turn>model\n",
        learned="ho<end_of_turn>",
    ),
    # The end of the turn, then that of the text where nobody goes on.
    "phi3": Family(
        template=(
            "{%- for m in messages -%}"
            "{{- '<|' + m.role + '|>\n' + m.content + '<|end|>\n' -}}{%- endfor -%}"
            "{%- if add_generation_prompt -%}{{- '<|assistant|>\n' -}}"
            "{%- else -%}{{- eos_token -}}{%- endif -%}"
        ),
        eos="<|endoftext|>",
        end="<|end|>",
        specials=("<|user|>", "<|assistant|>", "<|system|>", "<|end|>"),
        metaspace=True,
        opened="<|assistant|>\n",
        learned="ho<|end|>",
    ),
    # The system's words go before the last of the user's; a space before an answer.
    "mistral": Family(
        template=(
            "{%- if messages[0].role == 'system' -%}"
            "{%- set system = messages[0].content + '\n\n' -%}{%- set rest = messages[1:] -%}"
            "{%- else -%}{%- set system = '' -%}{%- set rest = messages -%}{%- endif -%}"
            "{{- bos_token -}}"
            "{%- for m in rest -%}"
            "{%- if (m.role == 'user') != (loop.index0 % 2 == 0) -%}"
            "{{- raise_exception('roles must alternate user and assistant') -}}{%- endif -%}"
            "{%- if m.role == 'user' -%}"
            "{{- '[INST] ' + (system if loop.first else '') + m.content + ' [/INST]' -}}"
            "{%- else -%}{{- ' ' + m.content | trim + eos_token -}}{%- endif -%}{%- endfor -%}"
        ),
        bos="<s>",
        eos="</s>",
        end="</s>",
        metaspace=True,
        opened=" [/INST]",
        learned=" ho</s>",
    ),
    "smollm2": Family(
        template=(
            "{%- if messages[0].role != 'system' -%}"
            "<|im_start|>system\nYou are small.<|im_end|>\n{% endif -%}" + CHATML
        ),
        bos="<|im_start|>",
        eos="<|im_end|>",
        end="<|im_end|>",
        specials=("<|endoftext|>",),
        opened="<|im_start|>assistant\n",
        learned="ho<|im_end|>",
    ),
}


def save_family(directory: Path, name: str, *, seed: int = 7) -> Path:
    """A LLaMA of one layer with the family's template and a tokenizer of single letters."""
    family = FAMILIES[name]
    tokenizer = _letters_of_metaspace() if family.metaspace else _letters_of_bytes()
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=family.bos,
        eos_token=family.eos,
        pad_token="<pad>",
        chat_template=family.template,
        model_input_names=["input_ids", "attention_mask"],
    )
    fast.add_special_tokens({"additional_special_tokens": list(family.specials)})
    fast.add_tokens(list(family.plain))
    if family.bos is not None and name != "smollm2":  # which names one and does not write it
        bos = (family.bos, fast.convert_tokens_to_ids(family.bos))
        fast.backend_tokenizer.post_processor = processors.TemplateProcessing(
            single=f"{bos[0]} $A", special_tokens=[bos]
        )
    fast.save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(fast),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=256,
        pad_token_id=fast.pad_token_id,
        bos_token_id=None,
        eos_token_id=fast.eos_token_id,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    return directory


def _letters_of_bytes() -> Tokenizer:
    """Every byte a token, as the BPE of GPT-2 and its heirs begins."""
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary = {letter: index for index, letter in enumerate(["<pad>", *letters])}
    tokenizer = Tokenizer(models.BPE(vocabulary, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def _letters_of_metaspace() -> Tokenizer:
    """Every letter a token, a space "▁", and one before every text, as SentencePiece has it."""
    letters = ["<pad>", "<unk>", *(f"<0x{byte:02X}>" for byte in range(256)), "▁"]
    letters += [chr(code) for code in range(33, 127)]
    merges = [("▁", chr(code)) for code in range(97, 123)]
    vocabulary = {
        token: index for index, token in enumerate([*letters, *("".join(m) for m in merges)])
    }
    tokenizer = Tokenizer(models.BPE(vocabulary, merges, unk_token="<unk>", byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence(
        [normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")]
    )
    tokenizer.decoder = decoders.Sequence(
        [
            decoders.Replace("▁", " "),
            decoders.ByteFallback(),
            decoders.Fuse(),
            decoders.Strip(" ", 1, 0),
        ]
    )
    return tokenizer
