"""A conversation as training examples: rendered texts, and the stretches of them that are learned.

A turn is learned only where the text before it is what a generation prompt of the same messages gives, so
that what is trained is what inference will see. Where a template writes earlier turns otherwise than last
ones (it drops their thoughts, moves the system text), one text cannot hold all: each becomes an example.
"""

import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

from paceline.config.fields import Fields
from paceline.data import notes as note
from paceline.data.chat import MARKER, Chat
from paceline.data.formats import Conversation, Messages, says_anything
from paceline.data.tool_texts import check_tools, write_arguments
from paceline.errors import DataError

Thinking = Literal["every", "last", "none"]
Span = tuple[int, int]
_THOUGHT = re.compile(r"\s*<think>(.*?)</think>\s*", re.DOTALL)
# A thought that begins in the prompt, and one within the answer.
_THOUGHT_BEGUN = re.compile(r"(?:(?!<think>).)*?</think>\s*", re.DOTALL)
_THOUGHT_WITHIN = re.compile(r"<think>.*?</think>[ \t]*", re.DOTALL)


@dataclass(frozen=True)
class RenderedText:
    """A text, and the (start, end) of each stretch that is learned, in characters.

    `begin` are the ids of tokens that stand before the text, and are not learned.
    """

    text: str
    spans: list[Span]
    begin: Sequence[int] = ()


@dataclass
class Rendered:
    """What became of one conversation.

    Args:
        examples: its texts; none where no turn is to be learned.
        kind: what it holds beside plain turns: text, multi-turn, thinking, tools; plain if nothing.
        notes: what was not done with it as a person may expect, each once.
        removed: characters of the assistant's text that the template does not write.
    """

    examples: list[RenderedText]
    kind: str
    notes: list[str] = field(default_factory=list)
    removed: int = 0


@dataclass(frozen=True)
class _Turn:
    """An assistant's turn as the last one of its conversation: where it is asked for and answered.

    `full` is the text up to the turn's end, `prompt` what a generation prompt gives of it, `start` the first
    character that is learned.
    """

    full: str
    prompt: str
    start: int

    @property
    def answer(self) -> str:
        """The text after the prompt, with the tag of a thought that the prompt has begun."""
        begun = "<think>" if self.prompt.rstrip().endswith("<think>") else ""
        return begun + self.full[len(self.prompt) :]

    def begins(self, text: str) -> Span | None:
        """Where a text that goes on after this turn has it, if it has it as a generation prompt will."""
        if text.startswith(self.full):
            return self.start, len(self.full)
        without = self.prompt + self.full[self.start :]  # an empty thought is written in a last turn alone
        return (len(self.prompt), len(without)) if text.startswith(without) else None


def render_conversation(chat: Chat, conversation: Conversation, thinking: Thinking) -> Rendered:
    """The texts of a conversation.

    Raises:
        DataError: the template refuses it, or does not write its tools, calls or results.
    """
    if conversation.text is not None:
        return _plain_text(chat, conversation.text)
    messages, notes = _noted(chat, conversation, thinking)
    tools = _tools_to_write(conversation)
    render = partial(chat.render, tools=tools)
    messages, text = write_arguments(messages, render)
    places = [place for place, on in enumerate(conversation.supervised) if on]
    last = len(messages) - 1
    turns = {
        place: _last_turn(
            chat,
            messages[: place + 1],
            text if place == last else render(messages[: place + 1]),
            tools,
            thinking,
        )
        for place in places
    }
    answers = {place: turn.full[turn.start :] for place, turn in turns.items() if turn}
    check_tools(messages, tools, text, answers, partial(chat.render, messages))
    removed = _removed(messages, text, turns)
    if any(not says_anything(messages[place]) for place in places):
        notes.append(note.EMPTY_ANSWER)
    if _prompt_is_short(messages, text):
        notes.append(note.PROMPT_SHORT)
    examples = _examples(chat, messages, render, text, turns, thinking, notes)
    return Rendered(examples, _kind(messages, tools), notes, removed)


def _plain_text(chat: Chat, text: str) -> Rendered:
    """A text that is learned whole, with the beginning and end that the tokenizer and model know."""
    tokenizer = chat.tokenizer
    plain, special = (tokenizer(MARKER, add_special_tokens=on)["input_ids"] for on in (False, True))
    begin = special[: next(at for at in range(len(special)) if special[at : at + len(plain)] == plain)]
    if begin and text.startswith("".join(tokenizer.convert_ids_to_tokens(begin))):
        begin = []
    end = tokenizer.eos_token or ""
    whole = text + ("" if text.endswith(end) else end)
    return Rendered([RenderedText(whole, [(0, len(whole))], begin)], "text")


def _noted(chat: Chat, conversation: Conversation, thinking: Thinking) -> tuple[Messages, list[str]]:
    """The turns as the template knows them, and what is to be said about it."""
    notes = [note.UNUSED_KEY.format(key=key) for key in conversation.unused]
    messages = conversation.messages
    if thinking == "none":
        quiet = [_without_thought(message) for message in messages]
        if quiet != messages:
            notes.append(note.THOUGHTS_LEFT_OUT)
        messages = quiet
    if any("name" in m and m["role"] != "tool" for m in messages) and not chat.writes_names:
        notes.append(note.NAME_NOT_WRITTEN)
    adapted = chat.adapt(messages)
    if [m["role"] for m in adapted] != [m["role"] for m in messages]:
        notes.append(note.DEVELOPER)
    return adapted, notes


def _without_thought(message: Fields) -> Fields:
    if message["role"] != "assistant":
        return message
    quiet = {key: value for key, value in message.items() if key != "reasoning_content"}
    content = quiet["content"]
    if "</think>" in content:
        first = _THOUGHT.match(content) or _THOUGHT_BEGUN.match(content)
        content = _THOUGHT_WITHIN.sub("", content[first.end() :] if first else content)
    if content.lstrip().startswith("<think>"):
        raise DataError("thinking: none, and a thought of the assistant does not end")
    return {**quiet, "content": content}


def _tools_to_write(conversation: Conversation) -> list[Fields] | None:
    """The row's tools, unless its system text holds them already (Hermes)."""
    first = conversation.messages[:1]
    if conversation.tools and first and first[0]["role"] == "system" and "<tools>" in first[0]["content"]:
        names = [tool["function"]["name"] for tool in conversation.tools]
        if all(name in first[0]["content"] for name in names):
            return None
    return conversation.tools


def _last_turn(
    chat: Chat, messages: Messages, text: str, tools: list[Fields] | None, thinking: Thinking
) -> _Turn | None:
    """The last turn after its generation prompt; None where the template has no prompt that begins it."""
    if len(messages) == 1:
        return None  # no template renders a prompt without a turn
    closed = text.endswith(chat.closing)
    full = text[: len(text) - len(chat.closing)] + chat.ending if closed else _cut_after_end(chat, text)
    on, off = chat.no_thought
    for options in ({}, {"enable_thinking": True}, {"enable_thinking": False}):
        try:
            prompt = chat.render(messages[:-1], tools, add_generation_prompt=True, **options)
        except DataError:
            return None
        if not full.startswith(prompt):
            continue
        quiet = prompt[: len(prompt) - len(on)] + off if prompt.endswith(on) else prompt
        masked = thinking != "none" and full.startswith(quiet)
        return _Turn(full, prompt, len(quiet) if masked else len(prompt))
    return None


def _cut_after_end(chat: Chat, text: str) -> str:
    """A text up to its last special token, where nothing but white space follows that."""
    stripped = text.rstrip()
    return stripped if stripped.endswith(tuple(chat.marks)) else text


def _examples(
    chat: Chat,
    messages: Messages,
    render: Callable[[Messages], str],
    text: str,
    turns: dict[int, _Turn | None],
    thinking: Thinking,
    notes: list[str],
) -> list[RenderedText]:
    if not turns:
        return []
    if any(turn is None for place, turn in turns.items() if place > 0):
        notes.append(note.PROMPT_DIFFERS)
    spans = {
        place: turn.begins(text) if turn else _located(chat, render, messages, place, text)
        for place, turn in turns.items()
    }
    if all(spans.values()):
        return [RenderedText(text, [span for span in spans.values() if span])]
    if thinking == "last":
        place = max(turns)
        notes.append(note.LAST_ALONE)
        chosen = [place]
    else:
        notes.append(note.ONE_EACH)
        chosen = list(turns)
    found = []
    for place in chosen:
        turn, span = turns[place], spans[place]
        if turn:
            found.append(RenderedText(render(messages[: place + 1]), [(turn.start, len(turn.full))]))
        elif span:
            found.append(RenderedText(text, [span]))
        else:
            notes.append(note.ANSWER_LOST)
    return found


def _located(
    chat: Chat, render: Callable[[Messages], str], messages: Messages, place: int, text: str
) -> Span | None:
    """Where a turn is that no generation prompt begins: what differs when its content is another."""
    other = render([*messages[:place], {"role": "assistant", "content": MARKER}, *messages[place + 1 :]])
    start = other.rfind(MARKER)
    if start < 0:
        return None
    tail = len(other) - start - len(MARKER)
    end = len(text) - tail
    if text[:start] != other[:start] or end < start:
        return None
    return start, end + len(chat.ending) if text.startswith(chat.ending, end) else end


def _kind(messages: Messages, tools: list[Fields] | None) -> str:
    answers = [m for m in messages if m["role"] == "assistant"]
    holds = {
        "multi-turn": len(answers) > 1,
        "thinking": any(
            m.get("reasoning_content") or any(t.strip() for t in _THOUGHT.findall(m["content"]))
            for m in answers
        ),
        "tools": bool(tools)
        or any(m.get("tool_calls") or m["role"] == "tool" or "<tool_call>" in m["content"] for m in messages),
    }
    return ", ".join(name for name, there in holds.items() if there) or "plain"


def _removed(messages: Messages, text: str, turns: dict[int, _Turn | None]) -> int:
    """Characters of supervised turns, white space aside, that are not in the text that is learned."""
    count = 0
    for place, turn in turns.items():
        written = turn.answer if turn else text
        for part in (messages[place].get("reasoning_content") or "", messages[place]["content"]):
            count += _missing(part, written)
    return count


def _prompt_is_short(messages: Messages, text: str) -> bool:
    return any(_missing(m["content"], text) for m in messages if m["role"] not in ("assistant", "tool"))


def _missing(part: str, written: str) -> int:
    """How many of a part's characters were not written, white space aside; 0 for most, and fast then."""
    if part.strip() in written:
        return 0
    part, written = "".join(part.split()), "".join(written.split())
    head = bisect_right(range(1, len(part) + 1), 0, key=lambda size: part[:size] not in written)
    tail = bisect_right(range(1, len(part) + 1), 0, key=lambda size: part[-size:] not in written)
    return len(part) - max(head, tail)
