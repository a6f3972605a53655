"""A rehearsal: the same study on the embedded base and sample, small enough for a laptop."""

from typing import Any

from paceline.config.load import make_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study

ROWS = 800
EVAL_RATIO = 0.25
STEP_SHARE = 0.05
# The embedded base is a few hundred times smaller than the real ones and sees a few dozen steps: at their learning rates it would not move.
LR_FACTOR = 40.0


def rehearsal(study: Study) -> Study:
    """Swaps in what the package carries: base, data, at most 800 rows (a quarter held out), fewer steps, learning rates times 40.

    All that tells the runs apart stays: batch, rank, schedule, dropout, epochs, and the ratios between their learning rates.
    """
    runs = [Run(name=run.name, hypothesis=run.hypothesis, recipe=_rehearse(run.recipe, run.name)) for run in study.runs]
    return Study(name=f"rehearsal-{study.name}", objective=study.objective, runs=runs, published=study.published)


def _rehearse(recipe: Recipe, name: str) -> Recipe:
    fields: dict[str, Any] = recipe.model_dump()
    fields["base"] = "embedded"
    fields["data"] |= {
        "source": "embedded:rust",
        "split": "train",
        "format": "auto",
        "n": min(recipe.data.n or ROWS, ROWS),
        "eval_ratio": EVAL_RATIO,
    }
    fields["lr"] = recipe.lr * LR_FACTOR
    for steps in ("max_steps", "warmup_steps", "eval_steps"):
        if fields[steps]:
            fields[steps] = max(10, round(fields[steps] * STEP_SHARE))
    fields["logging_steps"] = 5
    return make_recipe(fields, f"rehearsal of {name}")
