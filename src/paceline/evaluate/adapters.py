"""Adapters of finished runs over one loaded base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import astuple, dataclass
from functools import partial
from pathlib import Path

from paceline.config.fields import Fields
from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.data.chat import Chat, load_chat
from paceline.data.formats import Messages
from paceline.data.templates import kept_template
from paceline.data.tokenizer_digest import template_digest, tokenizer_digest
from paceline.data.tool_texts import check_tools, write_arguments
from paceline.errors import ModelError
from paceline.evaluate.generate import Generator
from paceline.model.adapter import Adapter
from paceline.model.base import Base, load_base
from paceline.model.digest import adapter_digest, base_digest
from paceline.model.peft_config import as_stored, read_peft_config
from paceline.model.quantization import BaseFormat
from paceline.model.token_rows import refuse_unknown_tokens
from paceline.runs.digests import value_digest
from paceline.runs.directory import RunDirectory
from paceline.runs.inputs import read_inputs
from paceline.runs.manifest import refuse_damaged

BASE = "base"


@dataclass(frozen=True)
class AdapterSet:
    """A base and the adapters over it, by name; the bare base is None under the name `base`.

    `sequences` are answered at once; None: as many as suit the device.
    """

    base: Base
    chat: Chat
    adapters: dict[str, Adapter | None]
    sequences: int | None = None

    def generator(self) -> Generator:
        """A generator that stops where the chat template ends a turn."""
        return Generator(self.base, self.stop_tokens(), self.sequences)

    def stop_tokens(self) -> set[int]:
        """The end-of-turn token of the chat template, and the ends that the model itself names."""
        tokenizer, config = self.chat.tokenizer, self.base.model.generation_config
        named = config.eos_token_id if config is not None else None
        ends = {tokenizer.eos_token_id, *(named if isinstance(named, list) else [named])}
        if self.chat.ending:
            ends.add(tokenizer(self.chat.ending, add_special_tokens=False)["input_ids"][-1])
        return {int(token) for token in ends if token is not None}

    def prompt(self, messages: Messages, thinking: bool, tools: list[Fields] | None = None) -> list[int]:
        """Token ids of a conversation up to where the assistant speaks."""
        return encode_prompt(self.chat, messages, thinking, tools)

    def identity(self, run: str) -> str:
        """The digest of all that answers under a name: base, how it is stored, adapter, where it stops."""
        base, config = self.base, self.base.model.config
        stored = str(getattr(config, "quantization_config", None)) + str(base.head.dtype)
        digests = [*astuple(base_digest(base.name)), adapter_digest(self.adapters[run])]
        return value_digest([*digests, stored, sorted(self.stop_tokens()), *base.new_ids])

    def text(self, tokens: list[int]) -> str:
        return str(self.chat.tokenizer.decode(tokens, skip_special_tokens=True))


def encode_prompt(
    chat: Chat, messages: Messages, thinking: bool, tools: list[Fields] | None = None
) -> list[int]:
    """Token ids of a conversation up to where the assistant speaks.

    `thinking` is Qwen3's switch; other templates ignore it.

    Raises:
        DataError: the template refuses it, or does not write its tools, calls or results.
    """
    messages, text = write_arguments(
        chat.adapt(messages),
        partial(chat.render, tools=tools, add_generation_prompt=True, enable_thinking=thinking),
    )
    without = partial(chat.render, messages, None, add_generation_prompt=True, enable_thinking=thinking)
    check_tools(messages, tools, text, {}, without)
    return [int(token) for token in chat.tokenizer(text, add_special_tokens=False)["input_ids"]]


def run_paths(paths: list[Path]) -> list[Path]:
    """Run directories and adapter folders as they are; a study's folder stands for its finished runs."""
    runs: list[Path] = []
    for path in paths:
        if (path / "study.yaml").is_file():
            runs += [
                child
                for child in sorted(path.iterdir())
                if (child / "adapter" / "adapter_config.json").is_file()
            ]
        elif (adapter_folder(path) / "adapter_config.json").is_file():
            runs.append(path)
        else:
            raise ModelError(
                f"{path}: no adapter there; expected a finished run, a study with finished runs, "
                "or an adapter in PEFT's format"
            )
    return runs


def adapter_recipes(paths: list[Path]) -> dict[Path, Recipe]:
    """The recipes of runs that share a base, by their folders.

    Raises:
        ModelError: no adapter at a path; runs over different bases, or with different chat templates.
    """
    recipes = {path: _recipe(path) for path in run_paths(paths)}
    bases = {(recipe.base, BaseFormat.of(recipe)) for recipe in recipes.values()}
    if len(bases) > 1 and len({name for name, _ in bases}) == 1:
        raise ModelError(
            f"the runs have {next(iter(bases))[0]} in different forms (quantize, dtype, new_tokens); "
            "take those of one form at a time"
        )
    if len(bases) > 1:
        raise ModelError(
            f"the runs have different bases ({', '.join(sorted(name for name, _ in bases))}); "
            "take those of one base at a time"
        )
    if len(templates := {str(recipe.data.chat_template) for recipe in recipes.values()}) > 1:
        raise ModelError(
            f"the runs have different chat templates ({', '.join(sorted(templates))}); "
            "take those of one template at a time"
        )
    if not bases:
        raise ModelError("no finished run there")
    return recipes


def load_adapters(paths: list[Path], with_base: bool = False, batch_invariant: bool = False) -> AdapterSet:
    """Loads the adapters of runs and the base that they share; see `adapter_recipes` for what is refused.

    Args:
        with_base: add the bare base, under the name `base`.
        batch_invariant: answer one prompt at a time where the bits of an answer could otherwise depend on the
        others.
    """
    recipes = adapter_recipes(paths)
    first = next(iter(recipes.values()))
    base = load_base(first.base, base_format=BaseFormat.of(first))
    template = kept_template(adapter_folder(next(iter(recipes))), first.data.chat_template)
    chat = load_chat(first.base, template, first.new_tokens)
    refuse_other_base(recipes, chat)
    for recipe in recipes.values():
        refuse_unknown_tokens(recipe, chat.tokenizer)
    adapters: dict[str, Adapter | None] = {BASE: None} if with_base else {}
    for path, recipe in recipes.items():
        adapter = base.new_adapter(recipe)
        adapter.load(adapter_folder(path))
        adapters[path.resolve().name] = adapter
    alone = batch_invariant and not base.repeats_answers
    return AdapterSet(base, chat, adapters, 1 if alone else None)


def sequences_to_repeat(base: Base) -> int | None:
    """How many answers at once keep their bits on a CPU whatever else trains there; None: any number.

    What decides a run's training must not depend on the memory that its neighbours leave.
    """
    return None if base.device.type != "cpu" or base.repeats_answers else 1


def refuse_other_base(recipes: Mapping[Path, Recipe], chat: Chat) -> None:
    """Refuses runs whose base, tokenizer or template was changed since they were trained.

    Adapters of other trainers do not say what they were trained over.

    Raises:
        ModelError: with what has changed.
    """
    for path, recipe in recipes.items():
        if (began := read_inputs(path)) is None:
            continue
        base = base_digest(recipe.base)
        now = {"base_weights": base.weights, "base_config": base.config}
        now |= {"tokenizer": tokenizer_digest(chat), "template": template_digest(chat)}
        if changed := began.changes(began.model_copy(update=now)):
            raise ModelError(
                f"{path}: {', '.join(changed)} changed since the run was trained ({recipe.base}); "
                "its adapter means nothing there. Restore what was there, or train again"
            )


def adapter_folder(path: Path) -> Path:
    """The folder with the weights of a run, or of an adapter in PEFT's format."""
    return path / "adapter" if (path / "adapter").is_dir() else path


def _recipe(path: Path) -> Recipe:
    """What decides how an adapter is computed, with its fields as the adapter's own files have them.

    Raises:
        ModelError: files of a run that contradict each other, or an adapter that is not supported.
        RunError: files that are not what they were written as.
    """
    refuse_damaged(adapter_folder(path))
    RunDirectory(path).refuse_damaged()
    stored = read_peft_config(adapter_folder(path))
    if not (path / "recipe.yaml").is_file():
        return make_recipe({**stored, "data": "none"}, str(path))
    recipe = RunDirectory(path).recipe()
    for name, value in as_stored(recipe).items():
        if name == "trainable_token_indices" and recipe.new_tokens:
            continue  # there with the numbers of the new tokens
        if stored[name] != value:
            raise ModelError(
                f"{path}: {name} is {stored[name]!r} in adapter_config.json and {value!r} in recipe.yaml"
            )
    return recipe.model_copy(update={**as_stored(recipe), "init_lora_weights": True})
