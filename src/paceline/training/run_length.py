"""How long a run will be, worked out without tokenizing anything."""

from dataclasses import dataclass
from functools import cache

from paceline.config.data import Data
from paceline.config.recipe import Recipe
from paceline.data.formats import check_format
from paceline.data.mixture import choose_rows
from paceline.data.phases import choose_tasks
from paceline.data.row_tasks import training_tasks
from paceline.data.sources import check_source
from paceline.errors import DataError, ServiceError
from paceline.training.order import make_step_plan


@dataclass(frozen=True)
class RunLength:
    """Training examples, optimizer steps and coverage in passes; None where the rows are out of reach.

    Rows are counted (those of `train_tasks` read), not examples, so the true figures are a little lower where
    rows are dropped.
    """

    train: int | None = None
    steps: int | None = None
    coverage: float | None = None


def run_length(recipe: Recipe, out_of_reach: set[str] | None = None) -> RunLength:
    """The length of a recipe's run, as far as it can be told from here: None where the hub cannot be reached.

    Args:
        out_of_reach: sources that are not asked for again, as a try takes half a minute; filled in here.

    Raises:
        DataError: an unknown format; a file, split or subset that is not there.
    """
    for source in recipe.data.parts():
        check_format(source.format)
        check_source(source)
    if recipe.data.packing:  # how many examples texts are packed into is known when they are tokenized
        return RunLength(steps=recipe.max_steps)
    sources = {source.source for source in recipe.data.parts()}
    if out_of_reach is not None and sources & out_of_reach:
        return RunLength(steps=recipe.max_steps)
    try:
        train = _training_rows(recipe)
    except ServiceError:
        if out_of_reach is not None:
            out_of_reach |= sources
        return RunLength(steps=recipe.max_steps)
    plan = make_step_plan(recipe, train)
    constant = isinstance(recipe.batch_size, int)
    in_examples = recipe.max_steps is not None and constant
    coverage = plan.total_steps * recipe.effective_batch / train if in_examples else plan.coverage
    return RunLength(train, plan.total_steps, coverage)


def _training_rows(recipe: Recipe) -> int:
    """Rows that are not held out; of chosen tasks they are read, else counted."""
    data = recipe.data
    if recipe.train_tasks is None:
        rows = data.n or sum(len(part.picked) for part in choose_rows(data))
        return rows - int(rows * data.eval_ratio + 1e-9)
    tasks = _tasks(data.model_dump_json())
    if isinstance(tasks, ServiceError):
        raise tasks
    chosen = choose_tasks(tasks, recipe.train_tasks, recipe.phases)
    if not chosen.any():
        raise DataError(
            f"data {data.source!r}: no row is left to train of train_tasks {', '.join(recipe.train_tasks)}"
        )
    return int(chosen.sum())


@cache
def _tasks(data: str) -> list[str] | ServiceError:
    """The runs of a curriculum share their rows, which are read once; a hub out of reach is asked once."""
    try:
        return training_tasks(Data.model_validate_json(data))
    except ServiceError as error:
        return error
