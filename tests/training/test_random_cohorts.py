"""Together equals alone for cohorts of random recipes: the same bits, whatever else trains.

`PACELINE_COHORTS=200 pytest tests/training/test_random_cohorts.py` tries as many as a night allows.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from helpers import MakeBase, adapter_bytes
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.training.callbacks import Callback
from paceline.training.study import TrainingOptions, train_study

pytestmark = pytest.mark.slow

COHORTS = int(os.environ.get("PACELINE_COHORTS", "5"))

ADAPTERS = st.one_of(
    st.just({"target_modules": ["q_proj", "v_proj"]}),
    st.just({"target_modules": "all-linear", "use_rslora": True}),
    st.just({"use_dora": True}),
    st.just({"init_lora_weights": "pissa"}),
    st.just({"loraplus_lr_ratio": 8.0}),
    st.just({"rank_pattern": {"q_proj": 3}, "alpha_pattern": {"q_proj": 7}}),
    st.just({"layers_to_transform": [1]}),
    st.just({"target_modules": ["q_proj", "embed_tokens"]}),
    st.just({}),
)
LOSSES = st.one_of(
    st.just({}),
    st.just({"kl": {"coef": 0.3}}),
    st.just({"loss_on": "all"}),
)
RECIPES = st.fixed_dictionaries(
    {
        "lora_r": st.sampled_from([1, 4, 8, 17, 64]),
        "lora_dropout": st.sampled_from([0.0, 0.1, 0.5]),
        "batch_size": st.sampled_from([1, 2, 5, 8]),
        "grad_accum": st.sampled_from([1, 3]),
        "max_steps": st.integers(1, 4),
        "lr": st.sampled_from([1e-4, 1e-2]),
        "lr_scheduler": st.sampled_from(["cosine", "linear", "constant"]),
        "weight_decay": st.sampled_from([0.0, 0.1]),
        "seed": st.integers(0, 3),
        "max_length": st.sampled_from([48, 64, 256]),
    }
)
RUNS = st.lists(
    st.builds(lambda *parts: {k: v for part in parts for k, v in part.items()}, RECIPES, ADAPTERS, LOSSES),
    min_size=2,
    max_size=4,
)


BUDGETS = st.sampled_from([512, 4096, 100_000])


def random_cohorts(count: int) -> settings:
    return settings(
        max_examples=count,
        deadline=None,
        derandomize="PACELINE_COHORTS" not in os.environ,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )


class Heard(Callback):
    """The messages of a training."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def on_message(self, line: str) -> None:
        self.lines.append(line)


@pytest.mark.usefixtures("own_threads")
@random_cohorts(COHORTS)
@given(runs=RUNS, budget=BUDGETS, threads=st.integers(1, 3))
def test_each_run_of_a_random_cohort_has_the_bits_that_it_has_alone(
    runs: list[dict[str, Any]], budget: int, threads: int, tiny_base: MakeBase, sums: str
) -> None:
    torch.set_num_threads(threads)
    _compare(runs, budget, {"base": tiny_base("qwen3"), "data": sums})


def test_experts_see_the_rows_of_one_run(tiny_base: MakeBase, sums: str, tmp_path: Path) -> None:
    """An expert multiplies the rows that chose it, few of them, whose bits depend on how many there are."""
    common = {
        "lora_r": 4,
        "grad_accum": 1,
        "max_steps": 3,
        "lr": 1e-2,
        "target_modules": ["q_proj", "o_proj"],
    }
    runs = [{**common, "batch_size": size, "seed": size} for size in (1, 2, 5)]
    fields = {"base": tiny_base("mixtral"), "data": sums}
    _compare(runs, 4096, fields)
    heard = Heard()
    one = make_recipe({**fields, **runs[0]}, "test")
    train_study(_study([one]), tmp_path, TrainingOptions(token_budget=4096, callbacks=[heard]))
    assert sum("the token budget has no effect" in line for line in heard.lines) == 1


@random_cohorts(max(COHORTS // 5, 1))
@given(runs=RUNS, budget=BUDGETS)
def test_in_bf16_too(runs: list[dict[str, Any]], budget: int, wide_base: str, sums: str) -> None:
    _compare(runs, budget, {"base": wide_base, "data": sums, "dtype": "bfloat16"})


def _compare(runs: list[dict[str, Any]], budget: int, common: dict[str, Any]) -> None:
    """Trains the runs together and each alone, and compares the bits of their adapters."""
    common = {**common, "logging_steps": 1}
    recipes = [make_recipe({**common, **fields}, "test") for fields in runs]
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch) / "together"
        train_study(_study(recipes), together, TrainingOptions(token_budget=budget))
        for number, recipe in enumerate(recipes):
            alone = Path(scratch) / f"alone-{number}"
            train_study(_study([recipe]), alone, TrainingOptions(token_budget=budget))
            expected = adapter_bytes(alone / "r0")
            assert adapter_bytes(together / f"r{number}") == expected, runs[number]


def _study(recipes: list[Any]) -> Study:
    return Study(name="s", runs=[Run(name=f"r{i}", recipe=recipe) for i, recipe in enumerate(recipes)])
