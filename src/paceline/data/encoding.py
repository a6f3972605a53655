"""Conversations as token ids, and which of them are learned."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from paceline.data.chat import Chat
from paceline.data.formats import Conversation
from paceline.data.supervision import Rendered, RenderedText, Thinking, render_conversation
from paceline.errors import DataError


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
        else EncodedRow([next(encoded) for _ in one.examples], one.kind, one.notes, one.removed)
        for one in rendered
    ]


def _tokenize(chat: Chat, texts: list[RenderedText]) -> list[Encoded]:
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
        crossed = [s for s, _ in text.spans if ((where[:, 0] < s) & (where[:, 1] > s)).any()]
        if crossed:
            apart, places = _tokenize_apart(chat, text.text, crossed)
            if chat.tokenizer.decode(apart) == chat.tokenizer.decode(ids):  # no space was put before a piece
                ids, where = apart, places
        mask = np.zeros(len(ids), dtype=np.uint8)
        for start, end in text.spans:
            mask[(where[:, 0] >= start) & (where[:, 1] <= end)] = 1
        found.append(Encoded(np.asarray(ids, dtype=np.int32), mask))
    return found


def _tokenize_apart(chat: Chat, text: str, borders: list[int]) -> tuple[list[int], NDArray[np.int64]]:
    """Tokens and their places, none of them over a border: a prompt ends there when a model answers it."""
    ids: list[int] = []
    where: list[NDArray[np.int64]] = []
    for start, end in zip([0, *borders], [*borders, len(text)], strict=True):
        piece = chat.tokenizer(text[start:end], add_special_tokens=False, return_offsets_mapping=True)
        ids += piece["input_ids"]
        where.append(np.asarray(piece["offset_mapping"], dtype=np.int64).reshape(-1, 2) + start)
    return ids, np.concatenate(where)
