"""The study files have the figures of the write-ups that they retell."""

from pathlib import Path

import pytest

from paceline.config.load import load_study
from paceline.training.run_length import run_length

STUDIES = Path(__file__).parents[2] / "studies"

# Steps, and passes over the training data in percent, as the authors give them.
FIGURES = {
    # the five-recipe study: 10,000 rows, a tenth held out
    ("rust-five-recipes", "exp-baseline-10k"): (562, 100),
    ("rust-five-recipes", "exp-conservative-lr-10k"): (1125, 200),
    ("rust-five-recipes", "exp-high-capacity-10k"): (562, 100),
    ("rust-five-recipes", "exp-aggressive-lr-10k"): (562, 100),
    ("rust-five-recipes", "exp-small-batch-10k"): (2250, 100),
    ("rust-five-recipes", "exp-small-batch-5k"): (1125, 100),
    # the 0.6B study on Rust
    ("qwen3-0.6b-rust", "exp-qwen3-0.6b-5k"): (1125, 100),
    # the QLoRA post-mortem: 8.9%, 142% and 711% of 45,000 examples
    ("qlora-rescue", "failed"): (500, 8.9),
    ("qlora-rescue", "approach-1-conservative"): (2000, 142.2),
    ("qlora-rescue", "approach-2-aggressive"): (5000, 711.1),
    ("qlora-rescue", "approach-3-int8"): (2000, 142.2),
}


@pytest.mark.parametrize(("study", "run"), FIGURES)
def test_steps_and_coverage_are_the_write_up_s(study: str, run: str) -> None:
    runs = {one.name: one.recipe for one in load_study(STUDIES / f"{study}.yaml").runs}
    length = run_length(runs[run])
    steps, coverage = FIGURES[study, run]
    assert length.steps == steps
    assert length.coverage is not None
    assert 100 * length.coverage == pytest.approx(coverage, rel=2e-3)


def test_the_next_steps_begin_with_the_best_recipe_of_the_0_6b_study() -> None:
    runs = {run.name: run.recipe for run in load_study(STUDIES / "qwen3-0.6b-rust-next.yaml").runs}
    first = runs["two-epochs"]
    assert (first.lora_r, first.lora_alpha, first.lr, first.epochs) == (32, 64, 2e-5, 2)
    assert run_length(first).steps == 9000
    for phase in ("phase-1-understanding", "phase-2-annotation", "phase-3-generation"):
        assert run_length(runs[phase]).steps is None, "its steps are known when its rows have been counted"


def test_the_presets_of_the_five_recipe_study_keep_their_rates() -> None:
    runs = {run.name: run.recipe.lr for run in load_study(STUDIES / "rust-five-recipes.yaml").runs}
    assert runs == {
        "exp-baseline-10k": 2e-5,
        "exp-conservative-lr-10k": 1e-5,
        "exp-high-capacity-10k": 2e-5,
        "exp-aggressive-lr-10k": 5e-5,
        "exp-small-batch-10k": 2e-5,
        "exp-small-batch-5k": 2e-5,
    }
