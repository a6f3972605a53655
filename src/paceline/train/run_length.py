"""How long a run will be, worked out without tokenizing anything."""

from typing import Any

from paceline.config.recipe import Recipe
from paceline.data.sources import load_rows
from paceline.errors import PacelineError
from paceline.train.order import make_step_plan


def run_length(recipe: Recipe) -> dict[str, Any]:
    """steps, train examples and coverage (passes over them); None where the rows cannot be counted from here.

    Counts rows, so the true figures are a little lower where rows are dropped.
    """
    try:
        rows = recipe.data.n or len(load_rows(recipe.data))
    except PacelineError:
        return {"train": None, "steps": None, "coverage": None}
    train = rows - int(rows * recipe.data.eval_ratio + 1e-9)
    plan = make_step_plan(recipe, train)
    seen = plan.total_steps * recipe.effective_batch / train if recipe.max_steps else plan.coverage
    return {"train": train, "steps": plan.total_steps, "coverage": seen}
