"""Conversations as token ids, and which of them are the assistant's."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import TemplateError
from numpy.typing import NDArray
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from paceline import embedded
from paceline.data.formats import Messages
from paceline.errors import DataError

# Two texts that no conversation holds and that share no character with each other: private-use code points.
_ALPHA, _OMEGA = "\ue0a1\ue0a2\ue0a3", "\ue0b1\ue0b2\ue0b3"


@dataclass(frozen=True)
class Encoded:
    """One conversation. Shapes: (tokens,) int32 ids and uint8 mask, 1 where the token is supervised."""

    ids: NDArray[np.int32]
    mask: NDArray[np.uint8]


class Chat:
    """A tokenizer's chat template, and what it puts around an assistant's turn.

    `opening` is the text that starts an assistant's turn (it ends a generation prompt), `ending` the
    end-of-turn text (empty if there is none). Both are learned once by rendering two conversations that
    differ only in a marker.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        if not tokenizer.chat_template:
            raise DataError(
                f"tokenizer {tokenizer.name_or_path!r} has no chat template; "
                "put a `chat_template.jinja` into the base's folder, or use the instruct model"
            )
        self.tokenizer = tokenizer
        question = [{"role": "user", "content": _ALPHA}]
        prompt = self.render(question, add_generation_prompt=True)
        self.opening = prompt.removeprefix(self.render(question)) or prompt.split(_ALPHA)[-1]
        after = self.render([*question, {"role": "assistant", "content": _OMEGA}]).split(_OMEGA)[-1]
        self.ending = self._first_special(after)

    def _first_special(self, text: str) -> str:
        """`text` up to the end of its first special token."""
        for token in self.tokenizer.tokenize(text):
            if token in self.tokenizer.all_special_tokens:
                return text[: text.index(token) + len(token)]
        return ""

    def render(self, messages: Messages, **options: Any) -> str:
        """The conversation as the template writes it."""
        try:
            return str(self.tokenizer.apply_chat_template(messages, tokenize=False, **options))
        except TemplateError as error:
            raise DataError(f"the chat template refuses this conversation: {error}") from error

    def assistant_spans(self, messages: Messages, text: str) -> list[tuple[int, int]]:
        """(start, end) of each assistant turn in the text, in characters, its end token included.

        Each turn is located by rendering the conversation again with that turn's content replaced by a
        marker: what differs is the turn. No text inside a message can be taken for a turn, and no template
        has to be parsed.
        """
        spans = []
        for place, message in enumerate(messages):
            if message["role"] != "assistant":
                continue
            other = self.render([*messages[:place], {**message, "content": _OMEGA}, *messages[place + 1 :]])
            same = _common_prefix(text, other)
            tail = _common_prefix(text[::-1], other[::-1])
            opened = text.rfind(self.opening, 0, same)
            start = same if opened < 0 else opened + len(self.opening)
            end = len(text) - min(tail, len(text) - same)
            spans.append((start, end + len(self.ending) if text.startswith(self.ending, end) else end))
        return spans

    def encode(self, conversations: list[Messages]) -> list[Encoded]:
        """Token ids and masks.

        A token is supervised when it lies wholly inside an assistant's turn, its end-of-turn token included.
        """
        texts = [self.render(messages) for messages in conversations]
        tokens = self.tokenizer(
            texts,
            add_special_tokens=False,
            return_offsets_mapping=True,
            return_attention_mask=False,
            verbose=False,
        )
        encoded = []
        for messages, text, ids, offsets in zip(
            conversations, texts, tokens["input_ids"], tokens["offset_mapping"], strict=True
        ):
            where = np.asarray(offsets, dtype=np.int64).reshape(-1, 2)
            mask = np.zeros(len(ids), dtype=np.uint8)
            for start, end in self.assistant_spans(messages, text):
                mask[(where[:, 0] >= start) & (where[:, 1] <= end)] = 1
            encoded.append(Encoded(np.asarray(ids, dtype=np.int32), mask))
        return encoded


def _common_prefix(left: str, right: str) -> int:
    """Length of the common prefix, by halving: comparing strings is fast, a loop over characters is not."""
    low, high = 0, min(len(left), len(right))
    while low < high:
        middle = (low + high + 1) // 2
        if left[:middle] == right[:middle]:
            low = middle
        else:
            high = middle - 1
    return low


def load_tokenizer(base: str) -> PreTrainedTokenizerBase:
    """The base's tokenizer."""
    path = str(embedded.BASE) if base == "embedded" else base
    try:
        return AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        kind = "folder" if Path(path).exists() else "hub id"
        raise DataError(
            f"base {base!r}: no tokenizer can be loaded from this {kind}: {str(error).splitlines()[0]}"
        ) from error
