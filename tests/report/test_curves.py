"""Training curves, smoothed and thinned out."""

from dataclasses import replace
from typing import Any

import numpy as np

from paceline.report.by_recipe import of_recipes
from paceline.report.curves import curves, smoothed, thin


def test_thinned_curves_keep_their_peaks() -> None:
    rows = [[1.0, 0.5]] * 5000
    rows[1234], rows[4321] = [9.0, 0.5], [1.0, None]
    kept = thin(rows, 400)
    assert len(kept) <= 400
    assert {0, 1234, 4999} <= set(kept)
    assert thin(rows[:50], 400) == list(range(50))


def test_a_smoothed_curve_is_a_mean_of_its_neighbours_and_keeps_its_ends() -> None:
    rising = np.arange(100.0)
    rising[50] = np.nan
    smooth = smoothed(rising)
    assert smooth[20] == 20
    assert np.isfinite(smooth[50]), "a figure that is not finite is left out"
    assert 0 < smooth[0] < 5
    noisy = np.random.default_rng(0).normal(size=600)
    assert smoothed(noisy).std() < noisy.std() / 4
    assert (smoothed(noisy[:10]) == noisy[:10]).all(), "a short log stays as it is"


def test_evaluations_stand_where_their_step_is(facts: Any) -> None:
    drawn = curves(of_recipes(facts))[0]
    assert drawn.eval["step"] == [event.step for event in facts.runs[0].evals]
    (run,) = drawn.runs
    for step, tokens in zip(drawn.eval["step"], drawn.eval["tokens"], strict=True):
        assert tokens == (run["tokens"][run["step"].index(step)] if step else 0)


def test_a_recipe_s_curve_is_the_mean_of_its_seeds_at_the_steps_that_all_have(facts: Any) -> None:
    plain, faster, _ = of_recipes(facts)
    short = replace(faster.runs[0], train=faster.runs[0].train[:5])
    both = replace(plain, runs=[plain.runs[0], short], seeds=[1, 2])
    (drawn,) = curves([both])
    assert drawn.smooth["step"] == [1, 2, 3, 4, 5]
    assert drawn.smooth["loss"][2] == np.mean([run.train[2].loss for run in both.runs])
    assert [len(run["step"]) for run in drawn.runs] == [12, 5]
