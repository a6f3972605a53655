"""Which examples a step sees: whole passes, in steps of the sizes that the recipe asks for."""

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.config.load import make_recipe
from paceline.training.order import DataOrder, StepSizes, make_step_plan


def recipe_with(**fields: Any) -> Any:
    return make_recipe({"base": "b", "data": "d", **fields}, "r")


@pytest.mark.parametrize(
    ("examples", "batch", "accum", "epochs", "steps"),
    [
        (9000, 4, 4, 1, 563),
        (9000, 2, 2, 1, 2250),
        (9000, 4, 4, 2, 1126),
        (10, 4, 4, 1, 1),
        (33, 2, 4, 1.5, 8),
    ],
)
def test_steps_are_counted_as_transformers_counts_them(
    examples: Any, batch: Any, accum: Any, epochs: Any, steps: Any
) -> None:
    recipe = recipe_with(batch_size=batch, grad_accum=accum, epochs=epochs)
    per_epoch = math.ceil(math.ceil(examples / batch) / accum)
    assert make_step_plan(recipe, examples).total_steps == math.ceil(epochs * per_epoch) == steps


def test_an_epoch_shows_every_example_once_and_epochs_differ() -> None:
    recipe = recipe_with(batch_size=2, grad_accum=4, epochs=2)
    plan = make_step_plan(recipe, 37)
    order = DataOrder(recipe, plan)
    epochs = [[i for s in range(e * 5, e * 5 + 5) for i in order(s).tolist()] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(37))
    assert epochs[0] != epochs[1]
    assert len(order(4)) == 5, "the last step of an epoch takes what is left"


def test_a_batch_grows_linearly_and_stays() -> None:
    sizes = StepSizes.of(recipe_with(batch_size={"start": 4, "end": 16, "steps": 6}, grad_accum=2))
    assert [sizes(step) for step in range(9)] == [8, 12, 16, 20, 24, 28, 32, 32, 32]


ramps = st.builds(
    lambda start, more, steps: {"start": start, "end": start + more, "steps": steps},
    st.integers(1, 6),
    st.integers(0, 12),
    st.integers(1, 40),
)


@settings(max_examples=200, deadline=None)
@given(
    ramps,
    st.integers(1, 3),
    st.integers(1, 90),
    st.sampled_from([0.5, 1, 1.5, 2, 3]),
    st.none() | st.integers(1, 60),
)
def test_a_growing_batch_makes_whole_passes(
    ramp: Any, accum: Any, examples: Any, epochs: Any, max_steps: Any
) -> None:
    recipe = recipe_with(batch_size=ramp, grad_accum=accum, epochs=epochs, max_steps=max_steps)
    plan = make_step_plan(recipe, examples)
    order, sizes = DataOrder(recipe, plan), StepSizes.of(recipe)
    steps = [order(step) for step in range(plan.total_steps)]
    for epoch in range(plan.epochs):
        first, end = plan.epoch_bounds(epoch)
        assert all(plan.epoch_of(step) == epoch for step in range(first, end))
        taken = steps[first:end]
        assert [len(step) for step in taken[:-1]] == [
            sizes(step) for step in range(first, first + len(taken) - 1)
        ]
        seen = np.concatenate(taken)
        if end <= plan.total_steps:
            assert sorted(seen.tolist()) == list(range(examples)), "every example exactly once"
            assert 0 < len(taken[-1]) <= sizes(end - 1)
        else:
            assert len(set(seen.tolist())) == len(seen)
    assert plan.steps_per_epoch == plan.epoch_bounds(0)[1]
    if max_steps:
        assert plan.total_steps == max_steps
    else:
        assert math.ceil(epochs) == plan.epochs
        assert epochs <= plan.coverage + 1e-9
    assert plan.passes(plan.total_steps) == plan.coverage


@settings(max_examples=50, deadline=None)
@given(ramps, st.integers(5, 60), st.data())
def test_the_examples_of_a_step_do_not_depend_on_what_was_asked_before(
    ramp: Any, examples: Any, data: Any
) -> None:
    recipe = recipe_with(batch_size=ramp, epochs=3, grad_accum=1)
    plan = make_step_plan(recipe, examples)
    order = DataOrder(recipe, plan)
    for step in data.draw(st.permutations(range(plan.total_steps)))[:6]:
        assert order(step).tolist() == DataOrder(recipe, plan)(step).tolist()


@settings(max_examples=100, deadline=None)
@given(st.integers(1, 9), st.integers(1, 4), st.integers(1, 80), st.sampled_from([1, 2, 2.5]))
def test_a_ramp_that_does_not_grow_is_a_plain_batch(
    batch: Any, accum: Any, examples: Any, epochs: Any
) -> None:
    plain = recipe_with(batch_size=batch, grad_accum=accum, epochs=epochs)
    flat = recipe_with(batch_size={"start": batch, "end": batch, "steps": 7}, grad_accum=accum, epochs=epochs)
    one, other = make_step_plan(plain, examples), make_step_plan(flat, examples)
    assert (one.total_steps, one.steps_per_epoch, one.warmup_steps) == (
        other.total_steps,
        other.steps_per_epoch,
        other.warmup_steps,
    )
    for step in range(one.total_steps):
        assert DataOrder(plain, one)(step).tolist() == DataOrder(flat, other)(step).tolist()
        assert one.epoch_of(step) == other.epoch_of(step)
