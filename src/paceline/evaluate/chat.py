"""A conversation with an adapter."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from threading import Thread
from typing import Any

import torch
from peft import PeftModel
from transformers import AutoModelForCausalLM, BatchEncoding, TextIteratorStreamer

from paceline.data.chat import load_tokenizer
from paceline.errors import UserError
from paceline.model.adapter import read_adapter_recipe
from paceline.model.base import base_path


@dataclass(frozen=True)
class Sampling:
    """How answers are drawn; temperature 0 is greedy."""

    temperature: float
    top_p: float
    max_new_tokens: int
    thinking: bool
    seed: int


class ChatSession:
    """Keeps the conversation; `answer` streams."""

    def __init__(self, model: PeftModel, base: str, system: str | None, sampling: Sampling) -> None:
        self.model, self.sampling = model, sampling
        self.tokenizer = load_tokenizer(base)
        self.messages = [{"role": "system", "content": system}] if system else []
        torch.manual_seed(sampling.seed)

    def answer(self, question: str) -> Iterator[str]:
        """The answer to a question, piece by piece."""
        self.messages.append({"role": "user", "content": question})
        prompt = self.tokenizer.apply_chat_template(
            self.messages, add_generation_prompt=True, return_tensors="pt", return_dict=True, enable_thinking=self.sampling.thinking
        )
        assert isinstance(prompt, BatchEncoding)
        streamer = TextIteratorStreamer(self.tokenizer, skip_prompt=True, skip_special_tokens=True)
        s = self.sampling
        drawn = {"do_sample": True, "temperature": s.temperature, "top_p": s.top_p} if s.temperature > 0 else {"do_sample": False}
        options = {"max_new_tokens": s.max_new_tokens, "pad_token_id": self.tokenizer.pad_token_id, "streamer": streamer, **drawn}
        worker = Thread(target=self._generate, args=({**prompt.to(self.model.device), **options},), daemon=True)
        worker.start()
        said = []
        for text in streamer:
            said.append(text)
            yield text
        worker.join()
        self.messages.append({"role": "assistant", "content": "".join(said)})

    def _generate(self, options: dict[str, Any]) -> None:
        self.model.generate(**options)


def open_chat(path: Path, system: str | None, sampling: Sampling) -> ChatSession:
    """Loads base and adapter of a run directory, or of an adapter in PEFT's format."""
    folder = path / "adapter" if (path / "adapter").is_dir() else path
    if not (folder / "adapter_config.json").is_file():
        raise UserError(f"{path}: no adapter there; expected a finished run's directory or an adapter in PEFT's format")
    base = str(read_adapter_recipe(folder)["base"])
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if device == "cuda" else torch.float32
    model = AutoModelForCausalLM.from_pretrained(base_path(base), dtype=dtype)
    model.to(device)
    return ChatSession(PeftModel.from_pretrained(model, str(folder)).eval(), base, system, sampling)
