"""Models and data small enough for any test, written the way real ones are."""

import json
import random
from pathlib import Path

import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    LlamaConfig,
    LlamaForCausalLM,
    PreTrainedTokenizerFast,
)

GOOD = ["good", "great", "fine", "lovely", "superb"]
BAD = ["bad", "awful", "poor", "dull", "horrid"]
FILLER = ["the", "film", "was", "really", "a", "plot", "and", "cast", "quite", "so"]
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


VOCABULARY = {word: i for i, word in enumerate([*SPECIAL, *GOOD, *BAD, *FILLER])}


def save_tiny_tokenizer(directory: Path) -> None:
    """A word-level tokenizer of the words that the sentences are made of."""
    tokenizer = Tokenizer(models.WordLevel(VOCABULARY, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]",
        pair="[CLS] $A [SEP] $B:1 [SEP]:1",
        special_tokens=[("[CLS]", 2), ("[SEP]", 3)],
    )
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        model_input_names=["input_ids", "token_type_ids", "attention_mask"],  # as BERT's
    ).save_pretrained(directory)


def save_tiny_bert(directory: Path, *, seed: int = 7) -> Path:
    """A BERT of 2 layers x 32 with a word-level tokenizer; the same weights for the same seed."""
    save_tiny_tokenizer(directory)
    config = BertConfig(
        vocab_size=len(VOCABULARY),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=64,
        max_position_embeddings=64,
        id2label={0: "bad", 1: "good"},  # those of write_reviews
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = BertForSequenceClassification(config)
    model.save_pretrained(directory)
    return directory


def sentence(label: str, stream: random.Random) -> str:
    """A sentence whose one telling word gives its label away."""
    words = [*stream.choices(FILLER, k=stream.randint(3, 8))]
    words.insert(stream.randrange(len(words)), stream.choice(GOOD if label == "good" else BAD))
    return " ".join(words)


def write_reviews(path: Path, *, clients: dict[str, int], seed: int = 0) -> Path:
    """A JSONL file with that many labeled sentences a client."""
    stream = random.Random(seed)
    rows = []
    for client, count in clients.items():
        for index in range(count):
            label = "good" if index % 2 else "bad"
            rows.append({"text": sentence(label, stream), "label": label, "client": client})
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def save_tiny_llama(directory: Path, *, seed: int = 7) -> Path:
    """A LLaMA of 2 layers x 32 with a word-level tokenizer that ends texts and writes chats."""
    vocabulary = {word: i for i, word in enumerate(["<pad>", "<unk>", "</s>", *VOCABULARY])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="<unk>",
        pad_token="<pad>",
        eos_token="</s>",
        chat_template="{% for m in messages %}{{ m['role'] }} {{ m['content'] }} {% endfor %}plot",
        model_input_names=["input_ids", "attention_mask"],
    ).save_pretrained(directory)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=32,
        num_hidden_layers=2,
        num_attention_heads=2,
        num_key_value_heads=1,
        intermediate_size=64,
        max_position_embeddings=64,
        pad_token_id=0,
        bos_token_id=None,
        eos_token_id=2,
    )
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        model = LlamaForCausalLM(config)
    model.save_pretrained(directory)
    return directory
