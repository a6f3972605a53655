"""Checkpoints: an adapter, its moments, what the run had counted and logged so far, recipe and inputs."""

from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from paceline.config.load import dump_recipe
from paceline.config.recipe import Recipe
from paceline.data.chat import load_chat
from paceline.data.templates import TEMPLATE, read_template
from paceline.errors import DataError
from paceline.model.adapter import Adapter
from paceline.runs.files import read_json, whole_folder, write_json
from paceline.runs.inputs import Inputs, write_inputs
from paceline.runs.manifest import write_manifest
from paceline.training.optimizer import moments, restore

# Of what a checkpoint holds; another one where this version could not read it.
FORMAT = 2


@dataclass
class Progress:
    """All that a run counts. `window_*` are sums since the last logged line.

    `evaluation_due`: the step is taken, and not yet evaluated where a longer run would be.
    """

    step: int = 0
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    window_steps: int = 0
    window_loss: float = 0.0
    window_supervised: int = 0
    window_correct: int = 0
    best_loss: float | None = None
    best_step: int | None = None
    patience_loss: float | None = None
    patience_used: int = 0
    zero_gradient: bool = False
    events_bytes: int = 0
    evaluation_due: bool = False

    def restore(self, folder: Path) -> None:
        """Takes over what a checkpoint had counted."""
        stored = read_json(folder / "progress.json")
        for field in fields(self):
            setattr(self, field.name, stored[field.name])


def save_checkpoint(
    folder: Path,
    recipe: Recipe,
    adapter: Adapter,
    optimizer: torch.optim.Optimizer,
    progress: Progress,
    inputs: Inputs,
    log: bytes,
) -> None:
    """Writes a checkpoint whole or not at all; `log` is that of the run so far."""
    with whole_folder(folder) as scratch:
        adapter.save(scratch, recipe)
        save_file(moments(optimizer), scratch / "optimizer.safetensors")
        write_json(scratch / "progress.json", asdict(progress))
        write_inputs(scratch, inputs)
        (scratch / "recipe.yaml").write_text(dump_recipe(recipe))
        (scratch / "events.jsonl").write_bytes(log)
        write_manifest(scratch)


def load_checkpoint(
    folder: Path, adapter: Adapter, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Restores adapter, optimizer and progress in place."""
    adapter.load(folder)
    restore(optimizer, load_file(folder / "optimizer.safetensors"))
    progress.restore(folder)


def save_adapter(folder: Path, recipe: Recipe, adapter: Adapter) -> None:
    """Writes an adapter in PEFT's format, whole, with checksums.

    Beside it stand the tokenizer that it added tokens to, and the chat template where it is not the base's.
    """
    with whole_folder(folder) as scratch:
        adapter.save(scratch, recipe)
        if recipe.new_tokens:
            chat = load_chat(recipe.base, recipe.data.chat_template, recipe.new_tokens)
            chat.tokenizer.save_pretrained(scratch)
        elif recipe.data.chat_template is not None:
            with suppress(DataError):  # the file may be gone by now; no reason to lose the adapter
                (scratch / TEMPLATE).write_text(read_template(recipe.data.chat_template))
        write_manifest(scratch)
