"""A rehearsal keeps what tells the runs apart."""

from typing import Any

import pytest

from paceline.config.load import make_recipe
from paceline.config.rehearse import HIGHEST_LR, rehearsal
from paceline.config.study import Run, Study


def rehearsed(**runs: Any) -> Any:
    recipes = {name: make_recipe({"base": "b", "data": "d", **fields}, name) for name, fields in runs.items()}
    study = Study(name="s", runs=[Run(name=name, recipe=recipe) for name, recipe in recipes.items()])
    return {run.name: run.recipe for run in rehearsal(study).runs}


def test_rates_and_effective_batches_keep_their_ratios() -> None:
    small = rehearsed(
        a={"lr": 1e-4, "batch_size": 4, "grad_accum": 16}, b={"lr": 2e-3, "batch_size": 4, "grad_accum": 8}
    )
    assert small["b"].lr / small["a"].lr == pytest.approx(20)
    assert small["b"].lr == pytest.approx(HIGHEST_LR)
    assert small["a"].effective_batch == 2 * small["b"].effective_batch == 16


def test_lengths_that_fit_short_rows_do_not_cut_the_samples() -> None:
    small = rehearsed(a={"max_length": 64}, b={"max_length": 128}, c={"max_length": 2048})
    assert [small[name].max_length for name in "abc"] == [640, 1280, 4096]
    assert rehearsed(a={"max_length": 1024})["a"].max_length == 1024


def test_everything_it_needs_is_carried_by_the_package() -> None:
    small = rehearsed(
        a={
            "data": {"source": "x/y", "format": "twix", "subset": "both", "mix_reasoning_ratio": 0.2},
            "distill": {"teacher": "big"},
            "eval": {"mtbench": {"lang": "ru", "judge": "openai"}, "forgetting": {"source": "x/z"}},
        }
    )["a"]
    assert (small.base, small.data.source, small.distill.teacher) == ("embedded", "embedded:twix", "embedded")
    assert (small.eval.mtbench.lang, small.eval.mtbench.judge) == ("embedded:ru", "simple")
    assert small.eval.forgetting.source == "embedded:rust"


def test_a_growing_batch_grows_over_the_same_share_of_the_run() -> None:
    ramp = {"start": 2, "end": 8, "steps": 200}
    small = rehearsed(
        a={"batch_size": ramp, "grad_accum": 1, "max_steps": 400, "data": {"source": "d", "n": 3200}}
    )["a"]
    assert small.batch_size.start == 2
    assert small.batch_size.steps == pytest.approx(small.max_steps / 2, abs=1)
