"""The presets are those of the write-ups."""

from typing import Any

import pytest

from paceline.config.load import make_recipe, merge, preset_fields
from paceline.config.presets import PRESETS, PURPOSE
from paceline.errors import ConfigError


@pytest.mark.parametrize(
    ("name", "batch_size", "grad_accum", "lr", "warmup", "r", "alpha", "dropout"),
    [
        ("small-batch", 2, 2, 2e-5, 0.1, 16, 32, 0.1),
        ("aggressive-lr", 4, 4, 5e-5, 0.2, 16, 32, 0.05),
        ("high-capacity", 4, 4, 2e-5, 0.1, 32, 64, 0.1),
        ("baseline", 4, 4, 2e-5, 0.1, 16, 32, 0.05),
        ("conservative-lr", 4, 4, 1e-5, 0.1, 16, 32, 0.05),
        ("guide", 4, 4, 2e-4, 0.1, 16, 32, 0.05),
    ],
)
def test_presets_are_the_published_ones(
    name: str, batch_size: Any, grad_accum: Any, lr: Any, warmup: Any, r: Any, alpha: Any, dropout: Any
) -> None:
    made = make_recipe(merge(PRESETS[name], {"base": "b", "data": "d"}), name)
    assert (made.batch_size, made.grad_accum, made.lr) == (batch_size, grad_accum, lr)
    assert (made.lora_r, made.lora_alpha, made.lora_dropout) == (r, alpha, dropout)
    assert (made.warmup_ratio, made.lr_scheduler) == (warmup, "cosine")
    assert made.epochs == (2 if name == "conservative-lr" else 1)


def test_each_preset_says_what_it_is_for() -> None:
    assert PURPOSE.keys() == PRESETS.keys()


def test_an_unknown_preset_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="unknown preset 'small_batch', did you mean 'small-batch'"):
        preset_fields("small_batch")
