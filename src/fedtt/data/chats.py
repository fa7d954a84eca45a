"""Conversations as a model's chat template writes them: what is given, and the turn to learn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Protocol

from jinja2 import TemplateError, TemplateSyntaxError

from fedtt.data.stopped_clock import stop_clock
from fedtt.data.token_ids import encode, end_token
from fedtt.data.tokens import Tokenizer
from fedtt.errors import ConfigError, DataError

Message = Mapping[str, Any]
# What a template, a small program of the model's, may raise.
_FAULTS = (
    TemplateError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RuntimeError,
    TypeError,
    ValueError,
)
_ANSWER = "fedtt asks how this turn ends"


class ChatTokenizer(Tokenizer, Protocol):
    """A tokenizer that can also write a conversation down."""

    name_or_path: str
    eos_token_id: int | None
    chat_template: Any
    added_tokens_decoder: Mapping[int, Any]

    def get_chat_template(self) -> str:
        """The template that is meant where none is named."""
        ...

    def apply_chat_template(
        self,
        conversation: list[dict[str, Any]],
        *,
        chat_template: str,
        tokenize: bool,
        add_generation_prompt: bool,
    ) -> Any:
        """The conversation as the model was trained to read it."""
        ...


class RefusedChatError(DataError):
    """A conversation that the chat template of the model ``name`` refuses for ``reason``.

    ``prompt`` is the conversation's JSON, where that is known; ``place`` where it is in a file.
    """

    def __init__(
        self, *, name: str, reason: str, prompt: str | None = None, place: str | None = None
    ) -> None:
        super().__init__(
            "the model's chat template refuses a conversation",
            where=place or f"chat template of {name}",
            got=reason,
            expected=f"what the chat template of {name} takes" if place else None,
            fix="correct the conversation, or take it out",
        )
        self.name, self.reason, self.prompt = name, reason, prompt

    def at(self, place: str) -> "RefusedChatError":
        """The same of a conversation that is known to be there."""
        return RefusedChatError(name=self.name, reason=self.reason, prompt=self.prompt, place=place)


@dataclass(frozen=True, kw_only=True)
class ChatFormat:
    """How a tokenizer's chat template writes conversations.

    ``tail`` is what it writes after the assistant's last text, ``end`` the part of it that ends the
    turn, ``end_token`` the token that a model stops at.
    """

    tokenizer: ChatTokenizer
    template: str
    tail: str
    end: str
    end_token: int


@dataclass(frozen=True, kw_only=True)
class Learned:
    """Token ids to be learned, and those before them."""

    before: Sequence[int]
    ids: Sequence[int]


def chat_format(tokenizer: ChatTokenizer, *, today: date | None) -> ChatFormat:
    """The format; a template that writes the date writes ``today``, whatever the clock says.

    Raises :class:`ConfigError` for a tokenizer without a template, for one that is broken, and for
    one that writes the date where ``today`` is None.
    """
    if not tokenizer.chat_template:
        raise ConfigError(
            "the tokenizer has no chat template",
            where="task.messages",
            fix="use a model that was tuned on conversations, or data with task.prompt and "
            "task.completion",
        )
    name = tokenizer.name_or_path
    template = stop_clock(tokenizer.get_chat_template(), today=today, name=name)
    tail = _tail(tokenizer, template)
    marker, token = _first_special(tokenizer, tail)
    end = tail[: tail.index(marker) + len(marker)] if marker else ""
    return ChatFormat(
        tokenizer=tokenizer,
        template=template,
        tail=tail,
        end=end,
        end_token=end_token(tokenizer) if token is None else token,
    )


def write_prompt(chat: ChatFormat, prompt: str) -> str:
    """Messages, in JSON, and what comes before the assistant's next turn.

    Raises :class:`RefusedChatError`.
    """
    messages, _ = _read(prompt)
    return _write_conversation(chat, prompt, messages, opens_turn=True)


def learn_turns(
    chat: ChatFormat, prompts: Sequence[str], completions: Sequence[str]
) -> list[Learned]:
    """The assistant's turn after every prompt, a list of messages in JSON, as token ids.

    The turn is learned as the template writes it, from the first token after the marker that opens
    it to the one that ends it. Raises :class:`RefusedChatError`.
    """
    opened = [write_prompt(chat, prompt) for prompt in prompts]
    turns = [
        _turn(chat, prompt, completion, opened=text)
        for prompt, completion, text in zip(prompts, completions, opened, strict=True)
    ]
    before = encode(chat.tokenizer, opened, bos=False)
    whole = encode(
        chat.tokenizer, [text + turn for text, turn in zip(opened, turns, strict=True)], bos=False
    )
    stop = [] if chat.end else [chat.end_token]
    return [
        Learned(before=ids, ids=[*_after(chat, ids, both, turn=turn), *stop])
        for ids, both, turn in zip(before, whole, turns, strict=True)
    ]


def _read(prompt: str) -> tuple[list[Message], Message]:
    """Messages and what the one after them has besides its content."""
    messages = json.loads(prompt)
    besides = messages.pop() if messages and "content" not in messages[-1] else {}
    return messages, besides


def _turn(chat: ChatFormat, prompt: str, completion: str, *, opened: str) -> str:
    """The completion as the template writes it after ``opened``, up to the end of its turn."""
    messages, besides = _read(prompt)
    last = {**besides, "role": "assistant", "content": completion}
    written = _write_conversation(chat, prompt, [*messages, last], opens_turn=False)
    if not written.startswith(opened):
        # The template opens a turn that it would write otherwise: the text alone follows.
        return completion + chat.end
    turn = written[len(opened) :]
    at = turn.rfind(chat.tail)
    return turn[:at] + chat.end if chat.tail and at >= 0 else turn


def _after(
    chat: ChatFormat, before: Sequence[int], whole: Sequence[int], *, turn: str
) -> Sequence[int]:
    """The token ids of the turn, as they follow those before it."""
    if list(whole[: len(before)]) == list(before):
        return whole[len(before) :]
    # A token would span the two, which no model is asked to write: the turn begins after a line.
    (line,), (after,) = (encode(chat.tokenizer, [text], bos=False) for text in ("\n", "\n" + turn))
    if after[: len(line)] == line:
        return after[len(line) :]
    return encode(chat.tokenizer, [turn], bos=False)[0]


def _write_conversation(
    chat: ChatFormat, prompt: str, messages: Sequence[Message], *, opens_turn: bool
) -> str:
    try:
        return _write(chat.tokenizer, chat.template, messages, opens_turn=opens_turn)
    except RefusedChatError as error:
        # Whoever knows the file finds the line by the prompt.
        raise RefusedChatError(name=error.name, reason=error.reason, prompt=prompt) from error


def _tail(tokenizer: ChatTokenizer, template: str) -> str:
    """What the template writes after an answer."""
    short = [{"role": "user", "content": "a"}, {"role": "assistant", "content": _ANSWER}]
    for messages in (short, [{"role": "system", "content": "a"}, *short]):
        try:
            written = _write(tokenizer, template, messages, opens_turn=False)
        except RefusedChatError:
            continue
        _, answer, tail = written.rpartition(_ANSWER)
        return tail if answer else ""
    return ""


def _first_special(tokenizer: ChatTokenizer, tail: str) -> tuple[str, int | None]:
    """The special token that comes first in ``tail``, else the first other one that was added."""
    added = tokenizer.added_tokens_decoder.items()
    for special in (True, False):
        found = {
            str(token): index
            for index, token in added
            if token.special == special and str(token).strip() and str(token) in tail
        }
        if found:
            # Where one begins with another, the longer is meant.
            first = min(found, key=lambda text: (tail.index(text), -len(text)))
            return first, found[first]
    return "", None


def _write(
    tokenizer: ChatTokenizer, template: str, messages: Sequence[Message], *, opens_turn: bool
) -> str:
    try:
        return str(
            tokenizer.apply_chat_template(
                [dict(message) for message in messages],
                chat_template=template,
                tokenize=False,
                add_generation_prompt=opens_turn,
            )
        )
    except TemplateSyntaxError as error:
        raise ConfigError(
            "the model's chat template is broken",
            where=f"chat template of {tokenizer.name_or_path}",
            got=error,
            fix="correct it, or use another version of the model",
        ) from error
    except _FAULTS as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise RefusedChatError(name=tokenizer.name_or_path, reason=reason) from error
