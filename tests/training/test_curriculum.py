"""What an epoch's examples are sorted by."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from paceline.errors import TrainingError
from paceline.model.base import Base
from paceline.runs.losses import ExampleLosses
from paceline.training.curriculum import order_key
from paceline.training.heldout import held_out_losses
from paceline.training.order import epoch_order
from paceline.training.prepare import Prepared


def with_order(prepared: Prepared, **fields: Any) -> Prepared:
    return replace(prepared, recipe=prepared.recipe.model_copy(update=fields))


def not_asked() -> ExampleLosses:
    raise AssertionError("the base is not measured for this order")


def test_a_random_order_has_no_key(prepared: Prepared) -> None:
    assert order_key(with_order(prepared, order="random"), not_asked) is None


def test_by_length_means_by_the_tokens_that_are_trained_on(prepared: Prepared) -> None:
    key = order_key(with_order(prepared, order="length"), not_asked)
    assert key is not None
    expected = [min(len(prepared.dataset.example(i)[0]), 128) for i in prepared.split.train]
    assert key.tolist() == expected
    lengths = key[epoch_order(0, 0, len(key), key)]
    assert (np.diff(lengths) >= 0).all()


def test_by_phase_means_in_the_order_of_the_recipe(prepared: Prepared) -> None:
    """The task of every example is `all`; those that no phase lists come last."""
    phases = {"first": ["other"], "second": ["all"]}
    key = order_key(with_order(prepared, order="phases", phases=phases), not_asked)
    assert key is not None
    expected = {"other": 0, "all": 1}
    tasks = prepared.dataset.tasks(prepared.split.train)
    assert key.tolist() == [expected.get(task, 2) for task in tasks]


def test_by_the_bases_loss_means_by_its_mean(prepared: Prepared, loaded_base: Base) -> None:
    train = prepared.split.train
    losses = held_out_losses(loaded_base, None, prepared.dataset, train, 128)
    key = order_key(with_order(prepared, order="base-loss"), lambda: losses)
    assert key is not None
    assert key.tolist() == [loss / tokens for loss, tokens in zip(losses.loss, losses.tokens, strict=True)]


def test_losses_of_other_examples_are_refused(prepared: Prepared, loaded_base: Base) -> None:
    losses = held_out_losses(loaded_base, None, prepared.dataset, prepared.split.train[:5], 128)
    with pytest.raises(TrainingError, match="belong to other training examples"):
        order_key(with_order(prepared, order="base-loss"), lambda: losses)
