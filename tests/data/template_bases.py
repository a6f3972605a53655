"""Tokenizers with the chat templates of other families, and what each of them makes of an answer."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from paceline.data.chat import Chat, load_tokenizer
from paceline.data.templates import read_template

FOLDER = Path(__file__).parent / "templates"
MARKS = [
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<start_of_turn>",
    "<end_of_turn>",
    "<|end|>",
]
MARKS += ["<|user|>", "<|assistant|>", "<|system|>", "[INST]", "[/INST]", "[TOOL_CALLS]"]


@dataclass(frozen=True)
class Trait:
    """What a family's template does: the end of a turn, and how it writes an answer's text."""

    end: str
    text: Callable[[str], str] = lambda text: text
    tools: bool = False


TRAITS = {
    "qwen3": Trait("<|im_end|>", lambda text: text.lstrip("\n"), tools=True),
    "qwen2_5": Trait("<|im_end|>", tools=True),
    "llama3": Trait("<|eot_id|>", str.strip, tools=True),
    "gemma3": Trait("<end_of_turn>", str.strip),
    "mistral": Trait("<|endoftext|>", tools=True),
    "phi": Trait("<|end|>"),
    "smollm3": Trait("<|im_end|>", lambda text: text.lstrip("\n")),
    "chatml": Trait("<|im_end|>", tools=True),
}


@cache
def chat_of(family: str) -> Chat:
    """The embedded tokenizer with a family's marks and template."""
    tokenizer: PreTrainedTokenizerBase = load_tokenizer("embedded")
    tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    tokenizer.bos_token = tokenizer.eos_token = "<|endoftext|>"
    own = FOLDER / f"{family}.jinja"
    tokenizer.chat_template = own.read_text() if own.exists() else read_template(family)
    return Chat(tokenizer)
