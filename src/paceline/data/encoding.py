"""Conversations as token ids, and which of them are learned."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.data.chat import Chat
from paceline.data.formats import Conversation
from paceline.data.supervision import Rendered, RenderedText, Span, Thinking, render_conversation
from paceline.errors import DataError

# Where a token is that stands before a text: in no stretch of it.
_BEFORE = (-1, -1)
# What an answer is tokenized behind, so that no tokenizer writes a space before it as before a text.
_BEFORE_ANSWERS = ("", "\n", "!", ":", ".")


@dataclass(frozen=True)
class Encoded:
    """One example. Shapes: (tokens,) int32 ids and uint8 mask, 1 where the token is supervised."""

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedRow:
    """The examples of one conversation, none to many, and what is to be said about it (see `Rendered`)."""

    examples: list[Encoded]
    kind: str
    notes: list[str]
    removed: int


def encode(
    chat: Chat, conversations: list[Conversation], thinking: Thinking = "every"
) -> list[EncodedRow | DataError]:
    """Token ids and masks of each conversation, or why there are none.

    A token is supervised when it lies wholly inside what is learned: an assistant's turn and its end-of-turn
    token.
    """
    rendered: list[Rendered | DataError] = []
    for conversation in conversations:
        try:
            rendered.append(render_conversation(chat, conversation, thinking))
        except DataError as error:
            rendered.append(error)
    texts = [text for one in rendered if isinstance(one, Rendered) for text in one.examples]
    encoded = iter(_tokenize(chat, texts))
    return [
        one if isinstance(one, DataError) else _row(one, [next(encoded) for _ in one.examples])
        for one in rendered
    ]


def _row(rendered: Rendered, found: list[list[Encoded] | DataError]) -> EncodedRow | DataError:
    examples: list[Encoded] = []
    for one in found:
        if isinstance(one, DataError):
            return one
        examples += one
    return EncodedRow(examples, rendered.kind, rendered.notes, rendered.removed)


def _tokenize(chat: Chat, texts: list[RenderedText]) -> list[list[Encoded] | DataError]:
    """The examples of each text: one, or one for each stretch where its tokens run over a prompt's end."""
    if not texts:
        return []
    tokens = _tokens(chat, [text.text for text in texts])
    found: list[list[Encoded] | DataError] = []
    for text, ids, offsets in zip(texts, tokens["input_ids"], tokens["offset_mapping"], strict=True):
        where = _places(chat, text.text, ids, offsets)
        if any(((where[:, 0] < start) & (where[:, 1] > start)).any() for start, _ in text.spans):
            try:
                found.append([_cut_at_prompt(chat, text.text, span) for span in text.spans])
            except DataError as error:
                found.append(error)
        else:
            before = len(text.begin)
            where = np.concatenate([np.full((before, 2), _BEFORE), where])
            found.append([_masked([*text.begin, *ids], where, text.spans)])
    return found


def _tokens(chat: Chat, texts: list[str]) -> Any:
    return chat.tokenizer(
        texts,
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )


def _places(chat: Chat, text: str, ids: list[int], offsets: list[tuple[int, int]]) -> NDArray[np.int64]:
    """(start, end) of each token (tokens, 2), in characters, whatever the tokenizer says of white space.

    What no token has (`trim_offsets`) belongs to the one after it, and a mark ends before the white space
    that it takes along (`rstrip`).
    """
    where = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
    where[1:, 0] = np.minimum(where[1:, 0], where[:-1, 1])
    where[:1, 0] = 0
    for at in np.flatnonzero(np.isin(ids, chat.greedy_marks)) if chat.greedy_marks else ():
        start, end = where[at]
        where[at, 1] = start + len(text[start:end].rstrip())
    return where


def _masked(ids: list[int], where: NDArray[np.int64], spans: list[Span]) -> Encoded:
    mask = np.zeros(len(ids), dtype=np.uint8)
    for start, end in spans:
        mask[(where[:, 0] >= start) & (where[:, 1] <= end)] = 1
    return Encoded(np.asarray(ids, dtype=np.int32), mask)


def _cut_at_prompt(chat: Chat, text: str, span: Span) -> Encoded:
    """A text up to a stretch's end, of which no token runs over the end of the prompt: a model's will not.

    Raises:
        DataError: the tokenizer writes no answer after this prompt as it would stand there.
    """
    start, end = span
    whole, prompt = _tokens(chat, [text[:end], text[:start]])["input_ids"]
    decode = chat.tokenizer.decode
    for before in _BEFORE_ANSWERS:
        ids, inner = _tokens(chat, [before, before + text[start:end]])["input_ids"]
        answer = inner[len(ids) :]
        if inner[: len(ids)] == ids and decode([*prompt, *answer]) == decode(whole):
            mask = np.repeat(np.array([0, 1], dtype=np.uint8), [len(prompt), len(answer)])
            return Encoded(np.asarray([*prompt, *answer], dtype=np.int32), mask)
    raise DataError(
        "no token of the answer begins where the generation prompt ends; end the prompt without white space"
    )
