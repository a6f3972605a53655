"""Checkpoints: an adapter, its moments, what the run had counted and logged so far, recipe and inputs."""

import math
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import torch
from pydantic import TypeAdapter, ValidationError
from safetensors.torch import save_file

from paceline.config.load import dump_recipe
from paceline.config.recipe import Recipe
from paceline.data.chat import load_chat
from paceline.data.templates import TEMPLATE, read_template
from paceline.errors import DataError, ModelError, RunError
from paceline.model.adapter import Adapter
from paceline.model.stored_tensors import open_tensors
from paceline.runs.files import read_json, whole_folder, write_json
from paceline.runs.inputs import Inputs, write_inputs
from paceline.runs.manifest import write_manifest
from paceline.training.optimizer import moments, restore

# Of what a checkpoint holds; another one where this version could not read it.
FORMAT = 2
_DELETE = "delete this checkpoint to go on from the one before"


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
        """Takes over what a checkpoint had counted.

        Raises:
            RunError: counts that are none, with the file and the field.
        """
        path = folder / "progress.json"
        try:
            stored = read_json(path)
            read = _PROGRESS.validate_python({name: stored[name] for name in asdict(self)})
        except ValidationError as error:
            fault = error.errors()[0]
            raise RunError(f"{path}: {fault['loc'][0]}: {fault['msg']}; {_DELETE}") from error
        except (ValueError, KeyError, TypeError) as error:
            raise RunError(f"{path}: not what a run had counted ({error}); {_DELETE}") from error
        for field in fields(self):
            setattr(self, field.name, getattr(read, field.name))


_PROGRESS = TypeAdapter(Progress)


def _exact(value: object) -> object:
    """A number that JSON has not by its name, so that a run whose loss is none goes on as it would have."""
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value


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
        write_json(scratch / "progress.json", {k: _exact(v) for k, v in asdict(progress).items()})
        write_inputs(scratch, inputs)
        (scratch / "recipe.yaml").write_text(dump_recipe(recipe))
        (scratch / "events.jsonl").write_bytes(log)
        write_manifest(scratch)


def load_checkpoint(
    folder: Path, adapter: Adapter, optimizer: torch.optim.Optimizer, progress: Progress
) -> None:
    """Restores adapter, optimizer and progress in place.

    Raises:
        ModelError: tensors that cannot be read, or are not this adapter's.
        RunError: the files are not what they were written as, or counts that are none.
    """
    adapter.load(folder)
    path = folder / "optimizer.safetensors"
    with open_tensors(path) as stored:
        tensors = {key: stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118 - no dict
    try:
        restore(optimizer, tensors)
    except ValueError as error:
        raise ModelError(f"{path}: {error}; {_DELETE}") from error
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
