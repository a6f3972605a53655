"""Learning rates and lengths equal transformers'."""

import math

import pytest
import torch
from transformers import get_scheduler

from paceline.config.load import make_recipe
from paceline.train.order import DataOrder, make_plan
from paceline.train.schedule import learning_rate


@pytest.mark.parametrize("name", ["cosine", "linear", "constant", "constant_with_warmup", "cosine_with_restarts"])
@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.1}, {"warmup_steps": 7}, {"warmup_ratio": 0.0}])
def test_every_step_has_transformers_rate(name, warmup):
    recipe = make_recipe(
        {"base": "b", "data": "d", "lr": 3e-4, "lr_scheduler": name, "num_cycles": 3 if "restarts" in name else 1, **warmup}, "r"
    )
    plan = make_plan(recipe, 1000)
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=3e-4)
    extra = {"num_cycles": 3} if "restarts" in name else None
    scheduler = get_scheduler(name, optimizer, plan.warmup_steps, plan.total_steps, extra)
    rate = learning_rate(recipe, plan)
    for step in range(plan.total_steps):
        assert rate(step) == scheduler.get_last_lr()[0]
        optimizer.step()
        scheduler.step()


@pytest.mark.parametrize(
    ("examples", "batch", "accum", "epochs", "steps"),
    [(9000, 4, 4, 1, 563), (9000, 2, 2, 1, 2250), (9000, 4, 4, 2, 1126), (10, 4, 4, 1, 1), (33, 2, 4, 1.5, 8)],
)
def test_steps_are_counted_as_transformers_counts_them(examples, batch, accum, epochs, steps):
    recipe = make_recipe({"base": "b", "data": "d", "batch_size": batch, "grad_accum": accum, "epochs": epochs}, "r")
    per_epoch = math.ceil(math.ceil(examples / batch) / accum)
    assert make_plan(recipe, examples).total_steps == math.ceil(epochs * per_epoch) == steps


def test_an_epoch_shows_every_example_once_and_epochs_differ():
    recipe = make_recipe({"base": "b", "data": "d", "batch_size": 2, "grad_accum": 4, "epochs": 2}, "r")
    plan = make_plan(recipe, 37)
    epochs = [[i for s in range(e * 5, e * 5 + 5) for i in DataOrder(recipe, plan)(s).tolist()] for e in range(2)]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(37))
    assert epochs[0] != epochs[1]
    assert len(DataOrder(recipe, plan)(4)) == 5, "the last step of an epoch takes what is left"
