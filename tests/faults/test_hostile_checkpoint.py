"""A checkpoint made to hurt, with checksums that fit: refused in a line, before anything is computed."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_hostile_weights import DAMAGES

from helpers import MakeRecipe, random_adapter, some_inputs
from paceline.errors import PacelineError
from paceline.model.base import Base
from paceline.runs.manifest import write_manifest
from paceline.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from paceline.training.optimizer import make_optimizer

Change = Callable[[Path], object]


def moments_with(**changed: torch.Tensor | None) -> Change:
    def change(file: Path) -> None:
        tensors = load_file(file) | changed
        save_file({name: value for name, value in tensors.items() if value is not None}, file)

    return change


def counts_with(**changed: object) -> Change:
    def change(file: Path) -> None:
        file.write_text(json.dumps(json.loads(file.read_text()) | changed))

    return change


CHANGES: dict[str, tuple[str, Change]] = {
    "moments that are too short": ("optimizer.safetensors", moments_with(exp_avg=torch.zeros(1))),
    "moments of another type": (
        "optimizer.safetensors",
        lambda file: moments_with(exp_avg_sq=load_file(file)["exp_avg_sq"].half())(file),
    ),
    "no moments": ("optimizer.safetensors", moments_with(exp_avg=None)),
    "many steps": ("optimizer.safetensors", moments_with(step=torch.zeros(1000))),
    "a step that is a text": ("progress.json", counts_with(step="x")),
    "a step that is none": ("progress.json", counts_with(step=None)),
    "deep counts": ("progress.json", lambda file: file.write_text("[" * 100_000)),
    "a list of counts": ("progress.json", lambda file: file.write_text("[]")),
    "no counts": ("progress.json", lambda file: file.write_text("{}")),
} | {
    f"moments: {name}": (
        "optimizer.safetensors",
        lambda file, name=name: file.write_bytes(DAMAGES[name](file.read_bytes())),
    )
    for name in ("empty", "header without end", "header of 17 MB", "deep header", "no data", "no object")
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_checkpoint_of_a_stranger_is_refused_in_a_line(
    name: str, loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    made, folder = recipe(), tmp_path / "step-1"
    adapter = random_adapter(loaded_base, made)
    optimizer = make_optimizer(made, adapter)
    adapter.gradients.normal_()
    optimizer.step()
    save_checkpoint(folder, made, adapter, optimizer, Progress(step=1), some_inputs(), b"")
    file, change = CHANGES[name]
    change(folder / file)
    write_manifest(folder)
    again = loaded_base.new_adapter(made)
    with pytest.raises(PacelineError) as refused:
        load_checkpoint(folder, again, make_optimizer(made, again), Progress())
    assert "\n" not in str(refused.value)
    assert str(folder / file) in str(refused.value)
