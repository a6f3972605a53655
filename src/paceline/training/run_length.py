"""How long a run will be, worked out without tokenizing anything."""

from dataclasses import dataclass

from paceline.config.data import Data
from paceline.config.recipe import Recipe
from paceline.data.formats import check_format
from paceline.data.mixture import choose_rows
from paceline.data.sources import check_source
from paceline.errors import ServiceError
from paceline.training.order import make_step_plan


@dataclass(frozen=True)
class RunLength:
    """Training examples, optimizer steps and coverage in passes; None where the rows are out of reach.

    Rows are counted, not examples, so the true figures are a little lower where rows are dropped.
    """

    train: int | None = None
    steps: int | None = None
    coverage: float | None = None


def run_length(recipe: Recipe) -> RunLength:
    """The length of a recipe's run, as far as it can be told from here: None where the hub cannot be reached.

    Raises:
        DataError: an unknown format; a file, split or subset that is not there.
    """
    for source in recipe.data.parts():
        check_format(source.format)
        check_source(source)
    try:
        rows = recipe.data.n or _count(recipe.data)
    except ServiceError:
        return RunLength(steps=recipe.max_steps)
    # how many rows these tasks have, and how many examples texts are packed into, is known when they are read
    if recipe.train_tasks is not None or recipe.data.packing:
        return RunLength(steps=recipe.max_steps)
    train = rows - int(rows * recipe.data.eval_ratio + 1e-9)
    plan = make_step_plan(recipe, train)
    constant = isinstance(recipe.batch_size, int)
    in_examples = recipe.max_steps is not None and constant
    coverage = plan.total_steps * recipe.effective_batch / train if in_examples else plan.coverage
    return RunLength(train, plan.total_steps, coverage)


def _count(data: Data) -> int:
    return sum(len(part.picked) for part in choose_rows(data))
