"""A tokenizer's chat template: conversations as the text that the model reads."""

from collections.abc import Sequence
from datetime import datetime
from functools import cached_property
from itertools import takewhile
from pathlib import Path
from typing import Any

from jinja2 import TemplateError
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from paceline.config.base_names import base_path
from paceline.config.fields import Fields
from paceline.data.formats import Messages
from paceline.data.templates import TEMPLATES, read_template
from paceline.data.time_limit import TooSlow, time_limit
from paceline.errors import DataError

# Texts that no conversation holds. The first two share no character: private-use code points.
_ALPHA, _OMEGA = "\ue0a1\ue0a2\ue0a3", "\ue0b1\ue0b2\ue0b3"
MARKER = "zq7xkjv"
# The date that a template is told, or rows would be other tokens tomorrow; Llama 3.2's own default.
TODAY = datetime(2024, 7, 26)
_LETTERS = {"%-": "dHIjmMSy", "%": "aAbBcdDeFHIjmMpRSTuUwWxXyYZ"}
_DIRECTIVES = [begun + letter for begun, letters in _LETTERS.items() for letter in letters]
_CLOCK = "{% macro strftime_now(format) %}{{ format"
_CLOCK += "".join(f"|replace('{name}', '{TODAY.strftime(name)}')" for name in _DIRECTIVES)
_CLOCK += " }}{% endmacro %}\n"  # the line's end is trimmed, and the template begins a line as before
# Longer than any conversation takes.
TEMPLATE_SECONDS = 10.0
# What a template raises: its own refusals, and Python's where it meets what it was not made for.
_REFUSALS = (TemplateError, TypeError, ValueError, KeyError, AttributeError, MemoryError, RecursionError)


class Chat:
    """A tokenizer with its chat template, and what the template does, learned by rendering small talks."""

    def __init__(self, tokenizer: PreTrainedTokenizerBase) -> None:
        self.tokenizer = tokenizer

    def require_template(self) -> None:
        """Refuses a tokenizer without a chat template."""
        if not self.tokenizer.chat_template:
            raise DataError(
                f"tokenizer {self.tokenizer.name_or_path!r} has no chat template; name one with "
                f"data.chat_template (a file, or one of {', '.join(sorted(TEMPLATES))}), put a "
                "`chat_template.jinja` into the base's folder, or use the instruct model"
            )

    def render(self, messages: Messages, tools: list[Fields] | None = None, **options: Any) -> str:
        """The conversation as the template writes it.

        Raises:
            DataError: no template; the template refuses it, or does not end in time.
        """
        self.require_template()
        try:
            with time_limit(TEMPLATE_SECONDS):
                return str(
                    self.tokenizer.apply_chat_template(
                        messages, tools=tools, tokenize=False, **self._without_clock(tools), **options
                    )
                )
        except TooSlow as error:
            raise DataError(f"the chat template does not end within {TEMPLATE_SECONDS:g} seconds") from error
        except _REFUSALS as error:
            raise DataError(f"the chat template refuses this conversation: {error}") from error

    def _without_clock(self, tools: list[Fields] | None) -> dict[str, str]:
        """The template with a date of its own, where it asks for one."""
        if "strftime_now" not in self._template:
            return {}
        return {"chat_template": _CLOCK + self.tokenizer.get_chat_template(tools=tools)}

    def prompt(self, messages: Messages, tools: list[Fields] | None = None, **options: Any) -> str:
        """The conversation up to where the assistant speaks, in the form that the template knows."""
        return self.render(self.adapt(messages), tools, add_generation_prompt=True, **options)

    def adapt(self, messages: Messages) -> Messages:
        """The turns in the form that the template knows, with nothing lost.

        A thought is its own field or `<think>` text, a developer a system turn, a tool's result is without
        tags where the template writes them.
        """
        return [self._adapted(message) for message in messages]

    def _adapted(self, message: dict[str, Any]) -> dict[str, Any]:
        made = dict(message)
        if made.get("reasoning_content") and not self.reads_reasoning:
            thought = str(made.pop("reasoning_content")).strip("\n")
            made["content"] = f"<think>\n{thought}\n</think>\n\n{made['content']}"
        if made["role"] == "developer" and "developer" not in self._template:
            made["role"] = "system"
        if made["role"] == "tool" and "<tool_response>" in self._template:
            inner = made["content"].strip()
            if inner.startswith("<tool_response>") and inner.endswith("</tool_response>"):
                made["content"] = inner[len("<tool_response>") : -len("</tool_response>")].strip("\n")
        return made

    @property
    def _template(self) -> str:
        return str(self.tokenizer.chat_template or "")

    def _probe(self, messages: Messages, **options: Any) -> str:
        """What the template makes of a small talk; nothing where it refuses it."""
        try:
            return self.render(messages, **options)
        except DataError:
            return ""

    @cached_property
    def closing(self) -> str:
        """What the template writes after the text of the last assistant's turn."""
        talk = [{"role": "user", "content": _ALPHA}, {"role": "assistant", "content": _OMEGA}]
        return self.render(talk).split(_OMEGA)[-1] if self._template else ""

    @cached_property
    def ending(self) -> str:
        """The end-of-turn text, up to the last mark that follows every answer; empty: there is none."""
        ids = self.tokenizer(self.closing, add_special_tokens=False)["input_ids"]
        names = self.tokenizer.convert_ids_to_tokens(ids)
        first = next((name for name in names if name in self.marks and name.strip()), None)
        if first is None:
            return ""
        ending = self.closing[: self.closing.index(first) + len(first)]
        while more := self._mark_after(ending, self.closing):
            if not self._after_answers.startswith(ending + more):
                break
            ending += more
        return ending

    def _mark_after(self, begun: str, text: str) -> str:
        """The mark with which a text goes on after its beginning; white space is none, though Gemma's is."""
        return max((m for m in self.marks if m.strip() and text.startswith(begun + m)), key=len, default="")

    @cached_property
    def _after_answers(self) -> str:
        """What the template writes after an answer, without what it writes before any question."""
        question, answer = {"role": "user", "content": _ALPHA}, {"role": "assistant", "content": _OMEGA}
        opening, _, rest = self._probe([question, answer, question]).partition(_ALPHA)
        asked, _, rest = rest.partition(_OMEGA)
        between = rest.partition(_ALPHA)[0]
        pairs = zip(reversed(opening), reversed(between), strict=False)
        same = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
        shared = between[len(between) - same :]
        if (end := self._mark_after("", asked.lstrip())) and end in shared:  # it ends a turn and begins none
            shared = shared[shared.rindex(end) + len(end) :]
        return between[: len(between) - len(shared)]

    @cached_property
    def marks(self) -> frozenset[str]:
        """Tokens that are never pieces of words: special ones, and those that were added."""
        return frozenset([*self.tokenizer.all_special_tokens, *self.tokenizer.added_tokens_encoder])

    @cached_property
    def greedy_marks(self) -> list[int]:
        """Ids of the added tokens that take white space behind them along."""
        return [number for number, token in self.tokenizer.added_tokens_decoder.items() if token.rstrip]

    @cached_property
    def no_thought(self) -> tuple[str, str]:
        """How a generation prompt ends with thinking on, and with it off; equal where that is no matter."""
        question = [{"role": "user", "content": _ALPHA}]
        on = self._probe(question, add_generation_prompt=True)
        off = self._probe(question, add_generation_prompt=True, enable_thinking=False)
        common = on.rfind(_ALPHA) + len(_ALPHA)
        return (on[common:], off[common:]) if on[:common] == off[:common] else ("", "")

    @cached_property
    def reads_reasoning(self) -> bool:
        """Whether the template writes a turn's field `reasoning_content`."""
        turn = {"role": "assistant", "content": "a", "reasoning_content": MARKER}
        return MARKER in self._probe([{"role": "user", "content": "q"}, turn])

    @cached_property
    def writes_names(self) -> bool:
        """Whether the template writes a turn's field `name`."""
        return MARKER in self._probe([{"role": "user", "content": "q", "name": MARKER}])


def load_tokenizer(base: str, new_tokens: Sequence[str] = ()) -> PreTrainedTokenizerBase:
    """The base's tokenizer, with tokens that are added to it.

    Raises:
        DataError: no tokenizer there, or one that has a new token already.
        ModelError: no such base.
    """
    path = base_path(base)
    try:
        tokenizer = AutoTokenizer.from_pretrained(path)
    except (OSError, ValueError) as error:
        kind = "folder" if Path(path).exists() else "hub id"
        raise DataError(
            f"base {base!r}: no tokenizer can be loaded from this {kind}: {str(error).splitlines()[0]}"
        ) from error
    _add_tokens(tokenizer, new_tokens, base)
    return tokenizer


def _add_tokens(tokenizer: PreTrainedTokenizerBase, new_tokens: Sequence[str], base: str) -> None:
    vocabulary = tokenizer.get_vocab()
    for token in new_tokens:
        if token in vocabulary:
            raise DataError(
                f"new_tokens: {token!r} is token {vocabulary[token]} of {base} already; "
                f"train its row with trainable_token_indices: [{vocabulary[token]}]"
            )
    tokenizer.add_tokens(list(new_tokens))
    for token, number in zip(new_tokens, token_ids(tokenizer, new_tokens), strict=True):
        if tokenizer(token, add_special_tokens=False)["input_ids"] != [number]:
            raise DataError(f"new_tokens: the tokenizer of {base} does not read {token!r} as one token")


def token_ids(tokenizer: PreTrainedTokenizerBase, tokens: Sequence[str]) -> list[int]:
    """The ids of tokens that are there."""
    vocabulary = tokenizer.get_vocab()
    return [int(vocabulary[token]) for token in tokens]


def load_chat(base: str, template: str | None = None, new_tokens: Sequence[str] = ()) -> Chat:
    """The base's tokenizer, with another chat template if one is named, and with new tokens.

    Args:
        template: a file, or the name of a template that comes with Paceline.

    Raises:
        DataError: no such base or template; a template that is not valid; a token that is not new.
    """
    tokenizer = load_tokenizer(base, new_tokens)
    if template is not None:
        tokenizer.chat_template = read_template(template)
    chat = Chat(tokenizer)
    if template is not None:
        try:
            chat.prompt([{"role": "user", "content": _ALPHA}])
        except DataError as error:
            raise DataError(f"chat_template {template!r}: {error}") from error
    return chat
