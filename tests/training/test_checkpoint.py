"""Checkpoints: what a run is, put away and taken up again bit for bit."""

import math
from dataclasses import asdict
from pathlib import Path

import pytest
import torch

from helpers import MakeRecipe, random_adapter, some_inputs
from paceline.config.recipe import Recipe
from paceline.model.adapter import Adapter
from paceline.model.base import Base
from paceline.training.checkpoint import Progress, load_checkpoint, save_checkpoint
from paceline.training.optimizer import make_optimizer, moments


def with_optimizer(adapter: Adapter, recipe: Recipe) -> torch.optim.Optimizer:
    return make_optimizer(recipe, adapter)


@pytest.mark.parametrize("optim", ["adamw", "adamw8bit"])
def test_a_run_goes_on_from_its_checkpoint_with_the_same_bits(
    optim: str, loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    made = recipe(optim=optim, lora_r=8)
    adapter = random_adapter(loaded_base, made)
    optimizer = with_optimizer(adapter, made)
    adapter.gradients.normal_()
    optimizer.step()
    written = Progress(
        step=7,
        tokens=100,
        seconds=0.1 + 0.2,
        window_loss=1 / 3,
        best_loss=2.5,
        best_step=4,
        zero_gradient=True,
    )
    save_checkpoint(tmp_path / "step-7", made, adapter, optimizer, written, some_inputs(), b"")

    again, read = loaded_base.new_adapter(made), Progress()
    resumed = with_optimizer(again, made)
    load_checkpoint(tmp_path / "step-7", again, resumed, read)
    assert read == written
    assert torch.equal(again.parameters, adapter.parameters)
    for name, mine in moments(optimizer).items():
        assert torch.equal(mine, moments(resumed)[name]), name
    again.gradients.copy_(adapter.gradients)
    optimizer.step()
    resumed.step()
    assert torch.equal(again.parameters, adapter.parameters)


def test_a_checkpoint_before_the_first_step_is_a_checkpoint(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    made = recipe()
    adapter = random_adapter(loaded_base, made)
    save_checkpoint(
        tmp_path / "step-0", made, adapter, with_optimizer(adapter, made), Progress(), some_inputs(), b""
    )
    again = loaded_base.new_adapter(made)
    load_checkpoint(tmp_path / "step-0", again, with_optimizer(again, made), Progress())
    assert torch.equal(again.parameters, adapter.parameters)


def test_a_checkpoint_that_breaks_off_is_none(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full_disk(*_: object) -> None:
        raise OSError("no space left")

    monkeypatch.setattr("paceline.training.checkpoint.write_json", full_disk)
    adapter = random_adapter(loaded_base, recipe())
    optimizer = with_optimizer(adapter, recipe())
    with pytest.raises(OSError, match="no space"):
        save_checkpoint(tmp_path / "step-1", recipe(), adapter, optimizer, Progress(), some_inputs(), b"")
    assert not (tmp_path / "step-1").exists()


def test_progress_starts_from_nothing() -> None:
    assert {value for value in asdict(Progress()).values() if value is not None} == {0}


def test_counts_that_are_no_numbers_are_taken_up_as_they_were(
    loaded_base: Base, recipe: MakeRecipe, tmp_path: Path
) -> None:
    """A run whose loss was not finite goes on as if it had not been stopped."""
    made = recipe()
    adapter = random_adapter(loaded_base, made)
    optimizer = with_optimizer(adapter, made)
    written = Progress(window_loss=math.nan, best_loss=math.inf, patience_loss=-math.inf)
    save_checkpoint(tmp_path / "step-1", made, adapter, optimizer, written, some_inputs(), b"")
    read = Progress()
    load_checkpoint(tmp_path / "step-1", adapter, optimizer, read)
    assert repr(read) == repr(written)
