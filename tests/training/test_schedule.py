"""Learning rates equal transformers', and a schedule of one's own is the function that it names."""

from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import get_scheduler

from paceline.config.load import make_recipe
from paceline.errors import ConfigError
from paceline.training import schedule
from paceline.training.order import make_step_plan
from paceline.training.schedule import learning_rate

EXTRA = {
    "cosine": None,
    "linear": None,
    "constant": None,
    "constant_with_warmup": None,
    "cosine_with_restarts": {"num_cycles": 3},
    "polynomial": {"lr_end": 3e-5, "power": 2},
    "cosine_with_min_lr": {"min_lr_rate": 0.1},
    "warmup_stable_decay": {"num_decay_steps": 7, "min_lr_ratio": 0.1},
}


@pytest.mark.parametrize("name", list(EXTRA))
@pytest.mark.parametrize("warmup", [{"warmup_ratio": 0.1}, {"warmup_steps": 7}, {"warmup_ratio": 0.0}])
def test_every_step_has_transformers_rate(name: str, warmup: Any) -> None:
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


def test_restarts_at_the_end_of_each_epoch() -> None:
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


def test_restarts_follow_the_epochs_of_a_growing_batch() -> None:
    fields = {
        "lr": 1.0,
        "lr_scheduler": "cosine_with_restarts",
        "num_cycles": "epochs",
        "epochs": 3,
        "warmup_steps": 0,
    }
    ramp = {"start": 2, "end": 8, "steps": 30}
    recipe = make_recipe({"base": "b", "data": "d", **fields, "batch_size": ramp, "grad_accum": 1}, "r")
    plan = make_step_plan(recipe, 80)
    rate = learning_rate(recipe, plan)
    starts = [plan.epoch_bounds(epoch)[0] for epoch in range(3)]
    assert starts[1] - starts[0] > starts[2] - starts[1], "epochs get shorter"
    assert [rate(start) for start in starts] == [1.0, 1.0, 1.0]
    assert max(rate(start - 1) for start in starts[1:]) < 0.05


OWN = """
import math

def falling(step, plan):
    return 1 - step / plan.total_steps

def negative(step, plan):
    return 1.0 if step < 5 else -0.1

def endless(step, plan):
    return math.inf

def broken(step, plan):
    return 1 / (3 - step)

number = 3
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """(name of a schedule, fields) -> (rate, plan), with a module of schedules in the working directory."""
    (tmp_path / "schedules_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)

    def rate_of(name: Any, **fields: Any) -> Any:
        recipe = make_recipe({"base": "b", "data": "d", "lr": 2e-3, "lr_scheduler": name, **fields}, "r")
        plan = make_step_plan(recipe, 320)
        return learning_rate(recipe, plan), plan

    return rate_of


def test_a_schedule_of_ones_own_gives_the_whole_factor(own: Any) -> None:
    rate, plan = own("schedules_of_mine:falling", warmup_ratio=0.5)
    assert plan.total_steps == 20
    assert [rate(step) for step in range(20)] == [2e-3 * (1 - step / 20) for step in range(20)]


def test_a_schedule_of_another_package_has_a_plain_name(own: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    point = EntryPoint("downhill", "schedules_of_mine:falling", "paceline.schedules")
    monkeypatch.setattr("paceline.config.recipe.entry_points", lambda group: EntryPoints([point]))
    monkeypatch.setattr(schedule, "entry_points", lambda group: EntryPoints([point]))
    rate, _ = own("downhill")
    assert rate(10) == 1e-3
    with pytest.raises(ConfigError, match="no such schedule, did you mean 'downhill'"):
        own("downhil")


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("schedules_of_mine:negative", "step 5 has the factor -0.1; it must be finite and >= 0"),
        ("schedules_of_mine:endless", "step 0 has the factor inf"),
        ("schedules_of_mine:broken", r"failed at step 3 \(ZeroDivisionError: division by zero\)"),
        ("schedules_of_mine:number", "is no function"),
        ("schedules_of_mine:absent", "cannot be imported .AttributeError"),
        ("no_such_module_of_schedules:f", "cannot be imported .ModuleNotFoundError"),
    ],
)
def test_a_schedule_that_cannot_be_used_is_refused_in_one_line(own: Any, name: str, message: Any) -> None:
    with pytest.raises(
        ConfigError, match=f"^lr_scheduler {name}: .*{message}|^lr_scheduler {name}: {message}"
    ) as caught:
        own(name)
    assert "\n" not in str(caught.value)
