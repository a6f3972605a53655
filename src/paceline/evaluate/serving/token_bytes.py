"""The bytes of single tokens, which may be parts of a character."""

from __future__ import annotations

import re
from typing import Any

from transformers.convert_slow_tokenizer import bytes_to_unicode

_BYTE = re.compile(r"<0x([0-9A-F]{2})>")
_BYTES = {character: byte for byte, character in bytes_to_unicode().items()}


class TokenBytes:
    """The bytes that a token stands for: joined, those of an answer's tokens are its text in UTF-8."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._added: dict[int, str] = {
            token: added.content for token, added in tokenizer.added_tokens_decoder.items()
        }
        self._of_bytes = b"ByteLevel" in tokenizer.backend_tokenizer.decoder.__getstate__()

    def __call__(self, token: int) -> bytes:
        if token in self._added:
            return self._added[token].encode()
        piece: str = self._tokenizer.convert_ids_to_tokens(token) or ""  # a row of the model without a token
        if self._of_bytes:
            return bytes(_BYTES[character] for character in piece)
        if byte := _BYTE.fullmatch(piece):
            return bytes([int(byte[1], 16)])
        return piece.replace("▁", " ").encode()
