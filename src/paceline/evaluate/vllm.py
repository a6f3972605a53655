"""vLLM as the engine: its multi-LoRA serving behind the same few methods as our own generator."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import astuple
from pathlib import Path
from typing import Any

from paceline.config.base_names import base_path
from paceline.config.fields import Fields
from paceline.config.recipe import Recipe
from paceline.data.chat import load_chat
from paceline.data.formats import Messages
from paceline.errors import MissingExtra, ModelError
from paceline.evaluate.adapters import (
    BASE,
    adapter_folder,
    adapter_recipes,
    encode_prompt,
    refuse_other_base,
)
from paceline.evaluate.generate import Request
from paceline.model.base import default_device
from paceline.model.digest import base_digest
from paceline.model.quantization import BaseFormat
from paceline.model.stored_tensors import open_tensors
from paceline.runs.digests import path_digest, value_digest
from paceline.runs.files import JsonObject


class VLLMGenerator:
    """`add`, `busy` and `step` as `generate.Generator` has them.

    On a GPU its answers may change with what shares their batch.
    """

    def __init__(self, engine: Any, stop: set[int]) -> None:
        self._engine, self._stop = engine, sorted(stop)
        self._asked: dict[str, Request] = {}

    def add(self, requests: Iterable[Request]) -> None:
        """Puts requests in line."""
        from vllm import SamplingParams

        for request in requests:
            name, wanted = str(len(self._asked)), request.sampling
            self._asked[name] = request
            seed = None if wanted.temperature == 0 else request.seed()
            params = SamplingParams(
                temperature=wanted.temperature,
                top_p=wanted.top_p,
                max_tokens=wanted.max_new_tokens,
                seed=seed,
                stop_token_ids=self._stop,
            )
            self._engine.add_request(
                name, {"prompt_token_ids": request.prompt}, params, lora_request=request.adapter
            )

    @property
    def busy(self) -> bool:
        return bool(self._engine.has_unfinished_requests())

    def step(self) -> list[Request]:
        """One step of vLLM's scheduler; the requests that it moved on."""
        moved = []
        for output in self._engine.step():
            request, said = self._asked[output.request_id], output.outputs[0]
            request.tokens = [token for token in said.token_ids if token not in self._stop]
            if output.finished:
                request.finish = said.finish_reason
            moved.append(request)
        return moved


def _outside_layers(folder: Path) -> list[str]:
    """The modules of an adapter that are in no layer: embeddings and output projection."""
    with open_tensors(folder / "adapter_model.safetensors") as stored:
        keys = [key.removeprefix("base_model.model.") for key in stored.keys()]  # noqa: SIM118
    names = {key.split(".lora_")[0].split(".token_adapter")[0].removesuffix(".weight") for key in keys}
    return sorted(name for name in names if not any(part.isdigit() for part in name.split(".")))


class VLLMAdapterSet:
    """Adapters of finished runs in one vLLM engine, by name; the bare base is None under the name `base`."""

    def __init__(self, paths: list[Path], with_base: bool) -> None:
        try:
            from vllm import EngineArgs, LLMEngine
            from vllm.lora.request import LoRARequest
        except ImportError as error:
            raise MissingExtra("--engine vllm", "vLLM and a GPU", "vllm") from error
        recipes = adapter_recipes(paths)
        first: Recipe = next(iter(recipes.values()))
        if first.quantize != "none":
            raise ModelError(
                f"the base is stored as {first.quantize}; --engine vllm serves unquantized bases only"
            )
        for path, recipe in recipes.items():
            if at_end := _outside_layers(adapter_folder(path)):
                raise ModelError(
                    f"{path}: the adapter is on {', '.join(at_end)} too, which is not checked with vLLM; "
                    "use our own engine"
                )
            for field in ("use_dora", "rank_pattern", "alpha_pattern"):
                if getattr(recipe, field):
                    raise ModelError(
                        f"{path}: the adapter has {field}, which vLLM does not follow; use our own engine"
                    )
        arguments = EngineArgs(
            model=base_path(first.base),
            dtype=BaseFormat.of(first).fixed(default_device()).dtype,  # as load_base has it
            enable_lora=True,
            max_loras=len(recipes)
            + 1,  # one stays empty: vLLM's CPU kernels give rows without an adapter what the last slot holds
            max_lora_rank=max(16, *(recipe.lora_r for recipe in recipes.values())),
        )
        self.chat = load_chat(first.base, first.data.chat_template)
        self.adapters: JsonObject = {BASE: None} if with_base else {}
        for number, path in enumerate(recipes, 1):
            self.adapters[path.resolve().name] = LoRARequest(
                path.resolve().name, number, str(adapter_folder(path))
            )
        self._engine = LLMEngine.from_engine_args(arguments)  # which brings a base of the hub here
        refuse_other_base(recipes, self.chat)
        self._weights = astuple(base_digest(first.base))
        self._folders = {path.resolve().name: path_digest(adapter_folder(path)) for path in recipes}
        ending = (
            self.chat.tokenizer(self.chat.ending, add_special_tokens=False)["input_ids"][-1:]
            if self.chat.ending
            else []
        )
        self._stop = {
            int(token) for token in [self.chat.tokenizer.eos_token_id, *ending] if token is not None
        }

    def generator(self) -> VLLMGenerator:
        return VLLMGenerator(self._engine, self._stop)

    def identity(self, run: str) -> str:
        """The digest of all that answers under a name."""
        return value_digest(["vllm", self._weights, self._folders.get(run, ""), sorted(self._stop)])

    def prompt(self, messages: Messages, thinking: bool, tools: list[Fields] | None = None) -> list[int]:
        return encode_prompt(self.chat, messages, thinking, tools)

    def text(self, tokens: list[int]) -> str:
        return str(self.chat.tokenizer.decode(tokens, skip_special_tokens=True))
