"""The optimizer of a run: transformers' AdamW with the recipe's settings, and its state as tensors."""

from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import torch
from safetensors.torch import load_file, save_file

from helpers import MakeRecipe
from paceline.config.recipe import Recipe
from paceline.model.adapter import Adapter
from paceline.training.optimizer import make_optimizer, moments, restore

SETTINGS = {"lr": 1e-2, "adam_beta1": 0.8, "adam_beta2": 0.95, "adam_epsilon": 1e-6, "weight_decay": 0.1}
SIZE = 5000  # bitsandbytes keeps the moments of less than 4,096 elements in 32 bits


def start(recipe: Recipe) -> tuple[torch.nn.Parameter, torch.optim.Optimizer]:
    flat = SimpleNamespace(parameters=torch.linspace(-1, 1, SIZE), gradients=torch.zeros(SIZE))
    optimizer = make_optimizer(recipe, cast(Adapter, flat))
    return optimizer.param_groups[0]["params"][0], optimizer


def step(parameter: torch.nn.Parameter, optimizer: torch.optim.Optimizer, number: int) -> None:
    parameter.grad = torch.randn(SIZE, generator=torch.Generator().manual_seed(number))
    optimizer.step()


def test_adamw_is_the_formula_with_the_recipes_settings(recipe: MakeRecipe) -> None:
    """Loshchilov and Hutter's AdamW written out in float64."""
    parameter, optimizer = start(recipe(**SETTINGS))
    theta = parameter.detach().double().clone()
    first, second = torch.zeros(SIZE).double(), torch.zeros(SIZE).double()
    for number in range(1, 6):
        step(parameter, optimizer, number)
        assert parameter.grad is not None
        gradient = parameter.grad.double()
        theta *= 1 - 1e-2 * 0.1
        first = 0.8 * first + 0.2 * gradient
        second = 0.95 * second + 0.05 * gradient**2
        corrected = (second / (1 - 0.95**number)).sqrt() + 1e-6
        theta -= 1e-2 * first / (1 - 0.8**number) / corrected
        torch.testing.assert_close(parameter.detach(), theta.float(), atol=1e-6, rtol=1e-5)


def test_eight_bits_are_about_as_good(recipe: MakeRecipe) -> None:
    results = []
    for optim in ("adamw", "adamw8bit"):
        parameter, optimizer = start(recipe(optim=optim, **SETTINGS))
        before = parameter.detach().clone()
        for number in range(5):
            step(parameter, optimizer, number)
        results.append(parameter.detach() - before)
    assert (results[0] - results[1]).norm() / results[0].norm() < 0.1
    assert moments(optimizer)["state1"].dtype == torch.uint8


@pytest.mark.parametrize("optim", ["adamw", "adamw8bit"])
def test_an_optimizer_goes_on_from_its_moments_with_the_same_bits(
    optim: str, recipe: MakeRecipe, tmp_path: Path
) -> None:
    parameter, optimizer = start(recipe(optim=optim, **SETTINGS))
    for number in range(3):
        step(parameter, optimizer, number)
    save_file(moments(optimizer), tmp_path / "state.safetensors")

    again, resumed = start(recipe(optim=optim, **SETTINGS))
    again.data.copy_(parameter.data)
    restore(resumed, load_file(tmp_path / "state.safetensors"))
    for number in range(3, 6):
        step(parameter, optimizer, number)
        step(again, resumed, number)
        assert torch.equal(parameter, again)
    for name, mine in moments(optimizer).items():
        assert torch.equal(mine, moments(resumed)[name]), name


def test_before_the_first_step_there_is_nothing_to_keep(recipe: MakeRecipe) -> None:
    _, optimizer = start(recipe())
    assert moments(optimizer) == {}
    restore(optimizer, {})
    assert not optimizer.state
