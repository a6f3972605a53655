"""What a study will need, against what it then has."""

import os

import psutil
import pytest
import torch

from helpers import MakeBase, MakeRecipe, MakeStudy
from paceline.training.estimate import device_memory, estimate_study
from paceline.training.prepare import Preparer


def test_steps_tokens_and_memory_are_those_of_the_runs(
    tiny_base: MakeBase, recipe: MakeRecipe, study: MakeStudy, sums: str
) -> None:
    data = {"source": sums, "n": 60}
    runs = {
        "one": recipe(data=data, max_steps=None, epochs=2, lora_r=4),
        "eight": recipe(data=data, lora_r=8, optim="adamw8bit", kl={"coef": 0.1}),
        "elsewhere": recipe(data=data, base=tiny_base("llama"), gradient_checkpointing=True),
    }
    lines: list[str] = []
    cohorts = estimate_study(study(**runs), log=lines.append)
    assert [[run.name for run in cohort.runs] for cohort in cohorts] == [["one", "eight"], ["elsewhere"]]
    assert [line for line in lines if "timing" in line] == [
        f"timing a micro-batch of {name}" for name in runs
    ]
    found = {run.name: run for cohort in cohorts for run in cohort.runs}
    for name, made in runs.items():
        prepared = Preparer().prepare(made)
        ids = [len(prepared.dataset.example(i)[0][:256]) for i in prepared.split.train]
        plan = prepared.plan
        assert found[name].steps == plan.total_steps
        assert found[name].coverage == pytest.approx(plan.total_steps / plan.steps_per_epoch)
        assert found[name].tokens == pytest.approx(found[name].coverage * sum(ids), abs=1)
        assert found[name].seconds > 0
    memory = cohorts[0].memory
    widths = 2 * (64 + 128 + 2 * (64 + 64) + 128 + 64 + 2 * (64 + 160) + 160 + 64)
    assert memory["adapters and gradients"] == 2 * 4 * (4 + 8) * widths
    assert memory["optimizers"] == 2 * 4 * 4 * widths + int(0.52 * 4 * 8 * widths)
    weights = os.path.getsize(os.path.join(tiny_base(), "model.safetensors"))
    assert memory["base"] == pytest.approx(weights, rel=0.02)
    assert all(part > 0 for part in memory.values())
    assert cohorts[0].total == sum(memory.values()) < cohorts[0].available


def test_recomputed_layers_need_less(recipe: MakeRecipe, study: MakeStudy, sums: str) -> None:
    data = {"source": sums, "n": 60}
    needed = []
    for again in (False, True):
        (cohort,) = estimate_study(study(run=recipe(data=data, gradient_checkpointing=again)))
        needed.append(cohort.memory["activations"])
    assert needed[1] < needed[0]


def test_the_memory_of_a_cpu_is_the_machines() -> None:
    assert device_memory(torch.device("cpu")) == psutil.virtual_memory().total
