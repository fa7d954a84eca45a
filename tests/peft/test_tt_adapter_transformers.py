from pathlib import Path

import pytest
import torch
from peft import PeftModel, get_peft_model
from tests.peft.tiny_architectures import PEFT_WARNING, logits, tiny_classifier, tiny_lm, tokens
from transformers import AutoModelForCausalLM, AutoTokenizer, Trainer, TrainingArguments

from fedtt.peft import TTAdapterConfig, TTLinear, exchanged_parameters

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)

STORIES = Path(__file__).resolve().parents[3] / "shared" / "models" / "stories260K"


def config(**overrides):
    return TTAdapterConfig(**{"rank": 2, "bottleneck": 8, **overrides})


def generate(model, ids, **kwargs):
    return model.generate(input_ids=ids, do_sample=False, max_new_tokens=12, **kwargs)


def disturb(model):
    """Random cores throughout: no adapter is the identity any more; changes ``model``."""
    generator = torch.Generator().manual_seed(5)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, TTLinear):
                for core in module.cores:
                    core.copy_(torch.randn(core.shape, generator=generator))


def test_generation_with_the_cache_is_generation_without_it():
    ids = tokens(2, 5)
    base = generate(tiny_lm(), ids)
    model = get_peft_model(tiny_lm(), config(task_type="CAUSAL_LM"))
    assert torch.equal(generate(model, ids), base)
    disturb(model)
    adapted = generate(model, ids)
    assert not torch.equal(adapted, base)
    assert torch.equal(generate(model, ids, use_cache=False), adapted)
    with model.disable_adapter():
        assert torch.equal(generate(model, ids), base)


@pytest.mark.skipif(not STORIES.is_dir(), reason="the stories260K model is not on this machine")
def test_a_real_llama_learns_and_generates(tmp_path):
    tokenizer = AutoTokenizer.from_pretrained(STORIES)
    prompt = tokenizer("Once upon a time", return_tensors="pt")
    base = AutoModelForCausalLM.from_pretrained(STORIES, dtype=torch.float32)
    story = generate(base, **prompt_ids(prompt))
    assert "Once upon a time" in tokenizer.decode(story[0], skip_special_tokens=True)

    torch.manual_seed(0)
    model = get_peft_model(base, config(rank=5, bottleneck=16, task_type="CAUSAL_LM"))
    assert torch.equal(generate(model, **prompt_ids(prompt)), story)
    text = tokenizer("Tom the red dog ate a big cake. " * 3, return_tensors="pt").input_ids
    trainable = [p for p in model.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trainable, lr=1e-2)
    losses = []
    for _ in range(25):
        loss = model(input_ids=text, labels=text).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.6 * losses[0]
    learned = generate(model, **prompt_ids(prompt))
    with model.disable_adapter():
        assert torch.equal(generate(model, **prompt_ids(prompt)), story)
    model.save_pretrained(tmp_path)
    again = AutoModelForCausalLM.from_pretrained(STORIES, dtype=torch.float32)
    loaded = PeftModel.from_pretrained(again, tmp_path)
    assert torch.equal(generate(loaded, **prompt_ids(prompt)), learned)


def prompt_ids(prompt):
    return {"ids": prompt.input_ids, "attention_mask": prompt.attention_mask}


@pytest.mark.parametrize("tensorize_classifier", [False, True])
def test_the_trainer_takes_two_steps(tmp_path, tensorize_classifier):
    ids, labels = tokens(8), torch.arange(8) % 2
    rows = [{"input_ids": i, "labels": y} for i, y in zip(ids, labels, strict=True)]
    model = get_peft_model(
        tiny_classifier("roberta"),
        config(task_type="SEQ_CLS", tensorize_classifier=tensorize_classifier),
    )
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    arguments = TrainingArguments(
        output_dir=str(tmp_path),
        max_steps=2,
        per_device_train_batch_size=4,
        learning_rate=1e-2,
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        dataloader_pin_memory=False,
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=rows)
    trainer.train()
    after = dict(model.named_parameters())
    moved = {n for n, value in before.items() if not torch.equal(value, after[n])}
    assert moved == set(exchanged_parameters(model))
    trainer.save_model(str(tmp_path / "adapter"))
    loaded = PeftModel.from_pretrained(tiny_classifier("roberta"), tmp_path / "adapter")
    assert torch.equal(logits(loaded, ids), logits(model, ids))
