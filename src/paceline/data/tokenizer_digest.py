"""Digests of what makes tokens of a text: the tokenizer, and its chat template."""

import json

from paceline.data.chat import Chat
from paceline.runs.digests import value_digest


def tokenizer_digest(chat: Chat) -> str:
    """Hex over all that makes tokens of a text; padding and truncation are a call's own."""
    tokenizer = chat.tokenizer
    content = json.loads(tokenizer.backend_tokenizer.to_str())
    named = {name: str(token) for name, token in tokenizer.special_tokens_map.items()}
    split = {"split_special_tokens": True} if getattr(tokenizer, "split_special_tokens", False) else {}
    return value_digest([{**content, "padding": None, "truncation": None}, named | split])


def template_digest(chat: Chat) -> str:
    """Hex over the chat template."""
    return value_digest(chat.tokenizer.chat_template)
