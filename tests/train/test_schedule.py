"""Learning rates and lengths equal transformers'."""

import math

import pytest
import torch
from transformers import get_scheduler

from paceline.config.load import make_recipe
from paceline.train.order import DataOrder, make_step_plan
from paceline.train.schedule import learning_rate

EXTRA = {
    "cosine": None, "linear": None, "constant": None, "constant_with_warmup": None, "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"lr_end": 3e-5, "power": 2}, "cosine_with_min_lr": {"min_lr_rate": 0.1}, "warmup_stable_decay": {"num_decay_steps": 7, "min_lr_ratio": 0.1},
}  # fmt: skip


@pytest.mark.parametrize("name", list(EXTRA))
@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.1}, {"warmup_steps": 7}, {"warmup_ratio": 0.0}])
def test_every_step_has_transformers_rate(name, warmup):
    recipe = make_recipe(
        {
            "base": "b",
            "data": "d",
            "lr": 3e-4,
            "lr_scheduler": name,
            "num_cycles": 3 if "restarts" in name else 1,
            "min_lr_ratio": 0.1,
            "power": 2,
            **warmup,
        },
        "r",
    )
    plan = make_step_plan(recipe, 1000)
    optimizer = torch.optim.AdamW([torch.zeros(1)], lr=3e-4)
    scheduler = get_scheduler(name, optimizer, plan.warmup_steps, plan.total_steps, EXTRA[name])
    rate = learning_rate(recipe, plan)
    for step in range(plan.total_steps):
        assert rate(step) == pytest.approx(scheduler.get_last_lr()[0], rel=1e-12, abs=1e-18)
        optimizer.step()
        scheduler.step()


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
def test_steps_are_counted_as_transformers_counts_them(examples, batch, accum, epochs, steps):
    recipe = make_recipe(
        {"base": "b", "data": "d", "batch_size": batch, "grad_accum": accum, "epochs": epochs}, "r"
    )
    per_epoch = math.ceil(math.ceil(examples / batch) / accum)
    assert make_step_plan(recipe, examples).total_steps == math.ceil(epochs * per_epoch) == steps


def test_an_epoch_shows_every_example_once_and_epochs_differ():
    recipe = make_recipe({"base": "b", "data": "d", "batch_size": 2, "grad_accum": 4, "epochs": 2}, "r")
    plan = make_step_plan(recipe, 37)
    epochs = [
        [i for s in range(e * 5, e * 5 + 5) for i in DataOrder(recipe, plan)(s).tolist()] for e in range(2)
    ]
    assert sorted(epochs[0]) == sorted(epochs[1]) == list(range(37))
    assert epochs[0] != epochs[1]
    assert len(DataOrder(recipe, plan)(4)) == 5, "the last step of an epoch takes what is left"


def test_restarts_at_the_end_of_each_epoch():
    fields = {
        "base": "b",
        "data": "d",
        "lr": 1.0,
        "lr_scheduler": "cosine_with_restarts",
        "num_cycles": "epochs",
        "epochs": 3,
        "warmup_steps": 5,
    }
    recipe = make_recipe({**fields, "batch_size": 4, "grad_accum": 1}, "r")
    plan = make_step_plan(recipe, 80)
    rates = [learning_rate(recipe, plan)(step) for step in range(plan.total_steps)]
    assert [rates[step] for step in (0, 5, 20, 40)] == [0.0, 1.0, 1.0, 1.0]
    assert max(rates[19], rates[39], rates[59]) < 0.02
    assert rates[30] == pytest.approx(0.5)
