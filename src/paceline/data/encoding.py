"""Conversations as token ids, and which of them are learned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.data.chat import Chat
from paceline.data.formats import Conversation
from paceline.data.supervision import Rendered, RenderedText, Span, Thinking, render_conversation
from paceline.errors import DataError

# Where a token is that stands before a text: in no stretch of it.
_BEFORE = (-1, -1)


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
        one
        if isinstance(one, DataError)
        else EncodedRow([e for _ in one.examples for e in next(encoded)], one.kind, one.notes, one.removed)
        for one in rendered
    ]


def _tokenize(chat: Chat, texts: list[RenderedText]) -> list[list[Encoded]]:
    """The examples of each text: one, or one for each stretch where its tokens run over a prompt's end."""
    if not texts:
        return []
    tokens = chat.tokenizer(
        [text.text for text in texts],
        add_special_tokens=False,
        return_offsets_mapping=True,
        return_attention_mask=False,
        verbose=False,
    )
    found = []
    for text, ids, offsets in zip(texts, tokens["input_ids"], tokens["offset_mapping"], strict=True):
        where = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
        if text.begin is not None:
            ids, where = [text.begin, *ids], np.concatenate([[_BEFORE], where])
        if any(((where[:, 0] < start) & (where[:, 1] > start)).any() for start, _ in text.spans):
            found.append([_cut_at_prompt(chat, text.text, span) for span in text.spans])
        else:
            found.append([_masked(ids, where, text.spans)])
    return found


def _masked(ids: list[int], where: NDArray[np.int64], spans: list[Span]) -> Encoded:
    mask = np.zeros(len(ids), dtype=np.uint8)
    for start, end in spans:
        mask[(where[:, 0] >= start) & (where[:, 1] <= end)] = 1
    return Encoded(np.asarray(ids, dtype=np.int32), mask)


def _cut_at_prompt(chat: Chat, text: str, span: Span) -> Encoded:
    """A text up to a stretch's end, of which no token runs over the end of the prompt: a model's will not."""
    start, end = span
    whole, *pieces = (
        chat.tokenizer(part, add_special_tokens=False, return_offsets_mapping=True)
        for part in (text[:end], text[:start], text[start:end])
    )
    ids = [*pieces[0]["input_ids"], *pieces[1]["input_ids"]]
    places = [np.asarray(one["offset_mapping"], dtype=np.int64).reshape(-1, 2) for one in (whole, *pieces)]
    if chat.tokenizer.decode(ids) != chat.tokenizer.decode(whole["input_ids"]):
        return _masked(whole["input_ids"], places[0], [span])  # a space was put before the second piece
    return _masked(ids, np.concatenate([places[1], places[2] + start]), [span])
