"""Conversations become the tokens that the model's chat template writes, for every family."""

import json
from collections.abc import Callable
from datetime import date
from typing import Any

import pytest
from tests.chat_families import FAMILIES, save_family
from transformers import AutoTokenizer

from fedtt.data import LabeledTexts, TokenizedTexts, prompt_ids, stop_tokens, tokenize_completions
from fedtt.data.stopped_clock import stop_clock
from fedtt.errors import ConfigError, DataError

DAY = date(2024, 2, 5)
Message = dict[str, str]
USER: Message = {"role": "user", "content": "hi"}


@pytest.fixture(scope="session")
def load(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Any]:
    """The tokenizer of a family."""
    found: dict[str, Any] = {}

    def tokenizer(name: str) -> Any:
        if name not in found:
            place = save_family(tmp_path_factory.mktemp(name.replace(".", "-")), name)
            found[name] = AutoTokenizer.from_pretrained(place)
        return found[name]

    return tokenizer


def learn(
    tokenizer: Any, messages: list[Message], answer: str, *, max_length: int = 400
) -> TokenizedTexts:
    return tokenize_completions(
        LabeledTexts(texts=(json.dumps(messages),), labels=(0,), pairs=(answer,)),
        tokenizer=tokenizer,
        max_length=max_length,
        chat=True,
        today=DAY,
    )


def parts(data: TokenizedTexts) -> tuple[list[int], list[int]]:
    """Token ids that are given, and those to be learned."""
    assert data.learned is not None
    ids = list(zip(data.input_ids(0).tolist(), data.learned.tolist(), strict=True))
    return [i for i, learned in ids if not learned], [i for i, learned in ids if learned]


@pytest.mark.parametrize("name", FAMILIES)
def test_a_turn_is_learned_as_the_template_writes_it(load: Callable[[str], Any], name: str) -> None:
    tokenizer, family = load(name), FAMILIES[name]
    given, learned = parts(learn(tokenizer, [USER], "ho"))
    if not family.metaspace:  # whose first space is not decoded
        assert tokenizer.decode(learned) == family.learned
    assert tokenizer.convert_ids_to_tokens(learned[-1]) == family.end
    # The tokens are those of the whole conversation, written and read at once.
    text = tokenizer.apply_chat_template(
        [USER, {"role": "assistant", "content": "ho"}],
        chat_template=stop_clock(tokenizer.chat_template, today=DAY, name=name),
        tokenize=False,
    )
    whole = tokenizer(text, add_special_tokens=False)["input_ids"]
    assert whole[: len(given) + len(learned)] == [*given, *learned]
    assert text[: text.rindex(family.end) + len(family.end)].endswith(
        family.opened + family.learned
    )
    # And generation goes on from the same tokens, and stops at what was taught.
    (prompt,) = prompt_ids([json.dumps([USER])], tokenizer=tokenizer, chat=True, today=DAY)
    assert prompt == given
    assert stop_tokens(tokenizer, chat=True, today=DAY) == {
        learned[-1],
        tokenizer.convert_tokens_to_ids(family.eos),
    }


@pytest.mark.parametrize("name", FAMILIES)
def test_longer_conversations_keep_their_form(load: Callable[[str], Any], name: str) -> None:
    tokenizer, family = load(name), FAMILIES[name]
    earlier = [USER, {"role": "assistant", "content": "<think>hm</think>ha"}, USER]
    if family.takes_system:
        earlier = [{"role": "system", "content": "be kind"}, *earlier]
    _, learned = parts(learn(tokenizer, earlier, "ho"))
    _, alone = parts(learn(tokenizer, [USER], "ho"))
    assert learned == alone


def test_thoughts_are_learned_with_the_answer(load: Callable[[str], Any]) -> None:
    tokenizer = load("qwen3")
    thought = [USER, {"role": "assistant", "reasoning_content": "hm"}]  # of what is learned
    for messages, answer in (([USER], "<think>\nhm\n</think>\n\nho"), (thought, "ho")):
        _, learned = parts(learn(tokenizer, messages, answer))
        assert tokenizer.decode(learned) == "<think>\nhm\n</think>\n\nho<|im_end|>"


def test_what_the_text_says_does_not_end_the_turn(load: Callable[[str], Any]) -> None:
    tokenizer = load("phi3")
    _, learned = parts(learn(tokenizer, [USER], "a<|end|>b"))
    assert tokenizer.convert_ids_to_tokens(learned) == ["a", "<|end|>", "▁b", "<|end|>"]


def test_a_template_without_an_end_is_ended_by_the_tokenizer(load: Callable[[str], Any]) -> None:
    tokenizer = load("gemma")
    template = tokenizer.chat_template
    try:
        tokenizer.chat_template = (
            "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
            "{% if add_generation_prompt %}assistant:{% endif %}"
        )
        _, learned = parts(learn(tokenizer, [USER], "ho"))
        assert tokenizer.convert_ids_to_tokens(learned) == ["▁h", "o", "<eos>"]
    finally:
        tokenizer.chat_template = template


@pytest.mark.parametrize("name", ["gemma", "mistral"])
def test_a_conversation_that_the_template_refuses_is_named(
    load: Callable[[str], Any], name: str
) -> None:
    with pytest.raises(DataError, match="alternate") as refused:
        learn(load(name), [USER, USER], "ho")
    assert "template refuses" in str(refused.value)


def test_a_broken_template_is_named(load: Callable[[str], Any]) -> None:
    tokenizer = load("phi3")
    template, tokenizer.chat_template = tokenizer.chat_template, "{% for m in %}"
    try:
        with pytest.raises(ConfigError, match="chat template is broken"):
            learn(tokenizer, [USER], "ho")
    finally:
        tokenizer.chat_template = template


def test_the_date_is_that_of_the_run(load: Callable[[str], Any]) -> None:
    tokenizer = load("llama3")
    given, _ = parts(learn(tokenizer, [USER], "ho"))
    assert "Today Date: 05 Feb 2024\n\n" in tokenizer.decode(given)
    with pytest.raises(ConfigError, match=r"0\.1\.0 or earlier") as undated:
        prompt_ids([json.dumps([USER])], tokenizer=tokenizer, chat=True)
    assert "task.date" in str(undated.value)


@pytest.mark.parametrize(
    "form",
    [
        "%d %b %Y",
        "%A, %-d. %B %y%%",
        "%H:%M:%S.%f",
        "%Y-%m-%dT%j",
        "100%",
        "no date",
        "%_d%e %",
        "%q",
    ],
)
def test_a_stopped_clock_writes_what_strftime_does(load: Callable[[str], Any], form: str) -> None:
    tokenizer = load("phi3")
    template = "\n<{{ strftime_now('" + form + "') }}> {{ messages[0].content }}\n"
    written = tokenizer.apply_chat_template(
        [USER], chat_template=stop_clock(template, today=DAY, name="x"), tokenize=False
    )
    assert written == f"\n<{DAY.strftime(form)}> hi"
    assert stop_clock("{{ messages }}", today=None, name="x") == "{{ messages }}"


@pytest.mark.parametrize("name", ["llama3", "gemma", "mistral"])
def test_a_prompt_that_is_cut_keeps_the_token_that_begins_it(
    load: Callable[[str], Any], name: str
) -> None:
    tokenizer = load(name)
    whole, learned = parts(learn(tokenizer, [USER], "ho"))
    size = len(learned) + 5
    data = learn(tokenizer, [USER], "ho", max_length=size)
    assert parts(data) == ([whole[0], *whole[-4:]], learned)
    assert data.num_truncated == 1


@pytest.mark.parametrize("name", ["llama3", "gemma"])
def test_a_plain_prompt_that_is_cut_keeps_it_too(load: Callable[[str], Any], name: str) -> None:
    tokenizer = load(name)
    texts = LabeledTexts(texts=("aa aa",), labels=(0,), pairs=("bb",))

    def ids(max_length: int) -> list[int]:
        data = tokenize_completions(texts, tokenizer=tokenizer, max_length=max_length, chat=False)
        return data.input_ids(0).tolist()

    whole = ids(99)
    *prompt, b, _, end = whole
    bos = tokenizer.bos_token_id
    assert (prompt[0], end) == (bos, tokenizer.eos_token_id)
    assert ids(len(whole)) == whole
    assert ids(len(whole) - 2) == [bos, *whole[3:]]
    assert ids(5) == [bos, *whole[-4:]]  # one token of the prompt stays beside the first
    assert ids(4) == [bos, prompt[-1], *whole[-3:-1]]  # then the completion loses its end
    assert ids(2) == [bos, b]
