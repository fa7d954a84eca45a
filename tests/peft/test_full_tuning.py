import pytest
import torch
from peft import PeftModel, get_peft_model
from tests.peft.methods import state, train
from tests.peft.tiny_architectures import PEFT_WARNING, logits, tiny_classifier, tiny_lm, tokens

from fedtt.errors import ConfigError, ModelError
from fedtt.peft import FullConfig, ParameterKind, exchanged_parameters

pytestmark = pytest.mark.filterwarnings(PEFT_WARNING)


def tied():
    return tiny_lm("llama", tie_word_embeddings=True)


@pytest.mark.parametrize("low_cpu_mem_usage", [False, True])
def test_tied_embeddings_are_one_parameter_and_stay_tied(low_cpu_mem_usage, tmp_path):
    ids, base = tokens(), tied()
    model = get_peft_model(base, FullConfig(task_type="CAUSAL_LM"))
    assert set(exchanged_parameters(model).values()) == {ParameterKind.BASE}
    assert len(exchanged_parameters(model)) == len(list(tied().parameters()))
    train(model, ids, ids)
    assert base.lm_head.weight is base.model.embed_tokens.weight
    model.save_pretrained(tmp_path)
    loaded = PeftModel.from_pretrained(tied(), tmp_path, low_cpu_mem_usage=low_cpu_mem_usage)
    assert torch.equal(logits(loaded, ids), logits(model, ids))
    inner = loaded.get_base_model()
    assert torch.equal(inner.lm_head.weight, inner.model.embed_tokens.weight)


def test_a_loaded_one_is_frozen_unless_asked_otherwise(tmp_path):
    get_peft_model(tiny_classifier("bert"), FullConfig(task_type="SEQ_CLS")).save_pretrained(
        tmp_path
    )
    loaded = PeftModel.from_pretrained(tiny_classifier("bert"), tmp_path)
    assert exchanged_parameters(loaded) == {}
    again = PeftModel.from_pretrained(tiny_classifier("bert"), tmp_path, is_trainable=True)
    assert ParameterKind.BASE in exchanged_parameters(again).values()


def test_unloading_gives_the_trained_model():
    ids = tokens()
    model = get_peft_model(tiny_classifier("bert"), FullConfig(task_type="SEQ_CLS"))
    train(model, ids, torch.tensor([0, 1, 1, 0]))
    trained = logits(model, ids)
    merged = model.merge_and_unload()
    assert torch.equal(logits(merged, ids), trained)
    assert state(merged).keys() == state(tiny_classifier("bert")).keys()


def test_it_cannot_be_turned_off_or_had_twice():
    model = get_peft_model(tiny_classifier("bert"), FullConfig(task_type="SEQ_CLS"))
    refusal = pytest.raises(ModelError, match="full fine-tuning cannot be disabled")
    with refusal, model.disable_adapter():
        pass
    with pytest.raises(ConfigError, match="can be fully fine-tuned only once") as caught:
        model.add_adapter("second", FullConfig(task_type="SEQ_CLS"))
    assert "another copy of the base model" in str(caught.value)
