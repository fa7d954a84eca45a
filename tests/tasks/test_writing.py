"""What a model writes is what was asked for: stops that were taught, and no settings of its own."""

import numpy as np
import pytest
from transformers import GenerationConfig, PreTrainedModel
from transformers import PreTrainedTokenizerBase as Tokenizer

from fedtt.data import LabeledTexts
from fedtt.tasks import generation
from fedtt.tasks.writing import Writing, complete

PROMPT = np.array([9, 12, 15, 8])
PLAIN = Writing(max_new_tokens=6, pad_token_id=0, stops=frozenset())


def written(model: PreTrainedModel, **changes: object) -> list[int]:
    asked = {"max_new_tokens": 6, "pad_token_id": 0, "stops": frozenset(), **changes}
    (ids,) = complete(model, [PROMPT], writing=Writing(**asked))
    return ids


def test_writing_ends_at_what_was_taught_and_at_the_models_own_end(llama: PreTrainedModel) -> None:
    whole = written(llama)
    end = next(i for i, token in enumerate(whole) if token not in whole[:i] and i > 0)
    assert written(llama, stops=frozenset({whole[end]})) == whole[:end]
    own = llama.generation_config.eos_token_id
    try:
        for ends in (whole[end], [1, whole[end]]):
            llama.generation_config.eos_token_id = ends
            assert written(llama) == whole[:end]
    finally:
        llama.generation_config.eos_token_id = own


@pytest.mark.parametrize(
    "settings",
    [
        {"do_sample": True, "temperature": 9.0, "top_k": 3},
        {"repetition_penalty": 9.0},
        {"no_repeat_ngram_size": 1},
        {"min_new_tokens": 6},
        {"suppress_tokens": [7, 8, 9, 10, 11]},
        {"num_beams": 3},
        {"max_length": 5},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_a_models_own_settings_change_nothing(llama: PreTrainedModel, settings: dict) -> None:
    whole, own = written(llama), llama.generation_config
    stops = frozenset({whole[2]})
    short = written(llama, stops=stops)
    drawn = {"temperature": 1.0, "top_p": 1.0}
    try:
        llama.generation_config = GenerationConfig(eos_token_id=2, **settings)
        assert written(llama) == whole
        assert written(llama, stops=stops) == short
        many = {tuple(written(llama, **drawn)) for _ in range(4)}
        assert len(many) > 1  # drawn from all tokens, whatever the model's top_k and beams
        assert llama.generation_config.to_diff_dict().keys() >= settings.keys()  # put back
    finally:
        llama.generation_config = own


def test_answers_end_where_the_tokenizer_ends_them(
    tokenizer: Tokenizer, llama: PreTrainedModel
) -> None:
    prompt = "the film was"
    (whole,) = complete(llama, [np.array(tokenizer(prompt)["input_ids"])], writing=PLAIN)
    end = next(i for i, token in enumerate(whole) if token not in whole[:i] and i > 0)
    right = tokenizer.decode(whole[:end])
    own = tokenizer.eos_token
    try:
        tokenizer.eos_token = tokenizer.convert_ids_to_tokens(whole[end])
        task = generation(
            tokenizer=tokenizer, pad_token_id=0, chat=False, answers="squad", max_new_tokens=6
        )
        data = task.tokenize(
            LabeledTexts(texts=(prompt,), labels=(0,), pairs=("good",), references=((right,),)),
            max_length=16,
        )
        assert task.judge(llama, data, np.array([0]))["exact_match"].tolist() == [1.0]
    finally:
        tokenizer.eos_token = own
