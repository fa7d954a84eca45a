import pytest
import torch
from peft import PeftModel, get_peft_model
from tests.peft.tiny_architectures import (
    BLOCKS,
    CONFIGS,
    HIDDEN,
    PEFT_WARNING,
    VOCABULARY,
    logits,
    tiny_classifier,
    tiny_config,
    tiny_lm,
    tokens,
    train,
)
from torch import nn
from transformers import AutoModel, T5Config, T5ForConditionalGeneration

from fedtt.errors import ModelError
from fedtt.peft import (
    ParameterKind,
    TTAdapterConfig,
    TTAdapterLayer,
    TTDenseLayer,
    exchanged_parameters,
)
from fedtt.peft.anatomy import ANATOMIES

pytestmark = [
    pytest.mark.filterwarnings(PEFT_WARNING),
    # DeBERTa's module decorates its functions with torch.jit.script when it is imported.
    pytest.mark.filterwarnings("ignore:.torch.jit.script.*:DeprecationWarning"),
]

CLASSIFIER_DENSE = {
    "albert": "albert.pooler",
    "bert": "bert.pooler.dense",
    "camembert": "classifier.dense",
    "deberta": "pooler.dense",
    "deberta-v2": "pooler.dense",
    "distilbert": "pre_classifier",
    "electra": "classifier.dense",
    "mpnet": "classifier.dense",
    "roberta": "classifier.dense",
    "xlm-roberta": "classifier.dense",
}


def config(**overrides):
    return TTAdapterConfig(**{"rank": 2, "bottleneck": 8, "task_type": "SEQ_CLS", **overrides})


def adapter_layers(model):
    return [name for name, m in model.named_modules() if isinstance(m, TTAdapterLayer)]


def test_every_known_architecture_is_tested():
    assert set(CONFIGS) == set(ANATOMIES)


@pytest.mark.parametrize("model_type", sorted(CONFIGS))
def test_a_tiny_model_of_every_architecture(model_type, tmp_path):
    ids, labels = tokens(), torch.tensor([0, 1, 1, 0])
    base_logits = logits(tiny_classifier(model_type), ids)
    base_state = {k: v.clone() for k, v in tiny_classifier(model_type).state_dict().items()}

    torch.manual_seed(7)
    base = tiny_classifier(model_type)
    model = get_peft_model(base, config())

    # Discovery: two adapters a block (ALBERT has one block, passed through twice).
    blocks = 1 if model_type == "albert" else BLOCKS
    found = adapter_layers(model)
    assert len(found) == 2 * blocks
    assert not [name for name in found if "vision" in name or "pooler" in name]

    # Identity at the start, to the bit.
    assert torch.equal(logits(model, ids), base_logits)

    # Two steps move everything that is exchanged and nothing else.
    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, ids, labels, steps=2)
    after = dict(model.named_parameters())
    moved = {name for name, value in before.items() if not torch.equal(value, after[name])}
    assert moved == set(exchanged_parameters(model))
    trained = logits(model, ids)
    assert not torch.allclose(trained, base_logits)

    # The base model is still there, bit-identical.
    with model.disable_adapter():
        assert torch.equal(logits(model, ids), base_logits)

    # What is saved is what is loaded, to the bit.
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tiny_classifier(model_type), tmp_path)
    assert torch.equal(logits(loaded, ids), trained)

    # What unload() gives back has the base weights, but for PEFT's trained head.
    unloaded = model.unload().state_dict()
    assert unloaded.keys() == base_state.keys()
    changed = {k for k, v in base_state.items() if not torch.equal(v, unloaded[k])}
    assert all(name.startswith(("classifier.", "pre_classifier.", "score.")) for name in changed)


@pytest.mark.parametrize("model_type", sorted(CLASSIFIER_DENSE))
def test_the_classifiers_dense_layer_of_every_encoder(model_type, tmp_path):
    ids, labels = tokens(), torch.tensor([0, 1, 1, 0])
    base_logits = logits(tiny_classifier(model_type), ids)
    base_head = sum(
        p.numel() for n, p in tiny_classifier(model_type).named_parameters() if "classifier" in n
    )
    model = get_peft_model(tiny_classifier(model_type), config(tensorize_classifier=True))

    dense = [name for name, m in model.named_modules() if isinstance(m, TTDenseLayer)]
    assert dense == [f"base_model.model.{CLASSIFIER_DENSE[model_type]}"]

    # Of the head PEFT trains the final projection and nothing else: HIDDEN x 2 + 2.
    kinds = exchanged_parameters(model)
    sizes = {name: p.numel() for name, p in model.named_parameters()}
    head = sum(sizes[name] for name, kind in kinds.items() if kind is ParameterKind.HEAD)
    assert head == 2 * HIDDEN + 2 <= base_head
    assert sum(sizes[n] for n, k in kinds.items() if k is ParameterKind.BIASES) == HIDDEN

    before = {name: p.detach().clone() for name, p in model.named_parameters()}
    train(model, ids, labels, steps=2)
    after = dict(model.named_parameters())
    assert {n for n in before if not torch.equal(before[n], after[n])} == set(kinds)
    trained = logits(model, ids)

    with model.disable_adapter():
        assert torch.equal(logits(model, ids), base_logits)
    model.save_pretrained(tmp_path)
    for low in (False, True):
        loaded = PeftModel.from_pretrained(
            tiny_classifier(model_type), tmp_path, low_cpu_mem_usage=low
        )
        assert torch.equal(logits(loaded, ids), trained)


@pytest.mark.parametrize("model_type", sorted(set(CONFIGS) - set(CLASSIFIER_DENSE)))
def test_architectures_without_a_dense_layer_in_the_classifier_say_so(model_type):
    with pytest.raises(ModelError, match="no dense layer to tensorize is known") as caught:
        get_peft_model(tiny_classifier(model_type), config(tensorize_classifier=True))
    assert "albert, bert, camembert" in str(caught.value)
    assert "leave tensorize_classifier off" in str(caught.value)


def test_a_model_without_a_classifier_cannot_have_it_tensorized():
    with torch.device("meta"):
        model = AutoModel.from_config(tiny_config("roberta"))
    with pytest.raises(ModelError, match=r"not one module named classifier\.dense"):
        get_peft_model(model, TTAdapterConfig(rank=2, bottleneck=8, tensorize_classifier=True))


@pytest.mark.parametrize(
    ("model_type", "overrides"),
    [
        ("bert", {"is_decoder": True, "add_cross_attention": True}),
        ("roberta", {"is_decoder": True, "add_cross_attention": True}),
        ("gpt2", {"add_cross_attention": True}),
    ],
)
def test_cross_attention_is_left_alone(model_type, overrides):
    model = get_peft_model(tiny_lm(model_type, **overrides), config(task_type="CAUSAL_LM"))
    found = adapter_layers(model)
    assert len(found) == 2 * BLOCKS
    assert not [name for name in found if "crossattention" in name]


def test_albert_with_several_groups_counts_each_once():
    base = tiny_classifier("albert", num_hidden_layers=4, num_hidden_groups=2, inner_group_num=2)
    assert len(adapter_layers(get_peft_model(base, config()))) == 2 * 2 * 2


def tiny_t5():
    sizes = {"d_model": 16, "d_kv": 8, "d_ff": 24, "num_layers": 3, "num_heads": 2}
    return T5ForConditionalGeneration(
        T5Config(vocab_size=VOCABULARY, decoder_start_token_id=0, **sizes)
    )


def test_an_unknown_architecture_lists_candidates_known_ones_and_the_way_out():
    t5 = tiny_t5()
    with pytest.raises(ModelError, match="does not know where this architecture") as caught:
        get_peft_model(t5, TTAdapterConfig(rank=2, bottleneck=8))
    text = str(caught.value)
    assert "T5ForConditionalGeneration, model_type t5" in text
    assert "SelfAttention.o (6)" in text
    assert "DenseReluDense.wo (6)" in text
    assert "DenseReluDense.wi" not in text  # d_ff wide, not d_model
    assert "albert, bert, camembert" in text
    assert 'TTAdapterConfig(target_modules=["...", "..."])' in text


def test_any_other_model_works_by_target_modules():
    t5 = tiny_t5()
    targets = ("SelfAttention.o", "DenseReluDense.wo")
    model = get_peft_model(t5, TTAdapterConfig(rank=2, bottleneck=8, target_modules=targets))
    assert len(adapter_layers(model)) == 12
    model(input_ids=tokens(2), labels=tokens(2)).loss.backward()


def test_a_model_that_is_no_transformers_model_lists_its_linear_layers():
    model = nn.Sequential(nn.Linear(4, 6), nn.Sequential(nn.Linear(6, 6), nn.Linear(6, 6)))
    with pytest.raises(ModelError, match=r"linear layers as wide as the model: 0 \(2\), 1 \(1\)"):
        get_peft_model(model, TTAdapterConfig(rank=2, bottleneck=3))


def test_a_block_without_its_projections_is_refused():
    model = tiny_classifier("bert")
    model.bert.encoder.layer = model.bert.encoder.layer[:1]
    with pytest.raises(ModelError, match="found 2 output projections, not the two of every block"):
        get_peft_model(model, config())
