"""A study: a named list of runs, each a recipe as a difference from the first."""

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, model_validator

from paceline.config.criteria import Criterion
from paceline.config.fields import Fields
from paceline.config.names import RunName, StudyName
from paceline.config.recipe import Recipe


class Run(BaseModel):
    """One run of a study, its recipe resolved.

    `replicate_of` is the run that this one repeats with another seed; empty: none. `expects` is what its
    hypothesis claims; `success` are criteria that its figures have to meet. `written` is the recipe as the
    study's file has it, where flags or a rehearsal made another of it.
    """

    model_config = ConfigDict(frozen=True)

    name: RunName
    hypothesis: str = ""
    recipe: Recipe
    replicate_of: str = ""
    expects: Criterion | None = None
    success: tuple[Criterion, ...] = ()
    written: Recipe | None = None

    @property
    def recipe_name(self) -> str:
        """The name that all replicates share: the first one's."""
        return self.replicate_of or self.name


class Study(BaseModel):
    """Runs to be trained and compared; `runs[0]` is the baseline.

    `published` are the figures of a write-up by run name. `notes` are lines for the user about settings in
    the study's file that change nothing or mean something else here. `not_evaluated` are evaluations that
    were asked for and left out, with the reason.
    """

    model_config = ConfigDict(frozen=True)

    name: StudyName
    objective: str = ""
    runs: list[Run] = Field(min_length=1)
    published: Fields = {}
    notes: tuple[str, ...] = ()
    not_evaluated: dict[str, str] = {}

    @model_validator(mode="after")
    def _has_a_directory_for_each_run(self) -> "Study":
        names = [run.name for run in self.runs]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"run name {twice.pop()!r} is used twice; every run has a directory of its own")
        return self

    @property
    def recipes(self) -> dict[str, list[Run]]:
        """{recipe: its replicates}, in the order of the first of each."""
        found: dict[str, list[Run]] = {}
        for run in self.runs:
            found.setdefault(run.recipe_name, []).append(run)
        return found

    def differences(self, run: Run) -> dict[str, tuple[Any, Any]]:
        """{field: (baseline's value, this run's value)} where the two differ."""
        return recipe_differences(self.runs[0].recipe, run.recipe)


# The fields that say how long a run trains, and those that change what is logged and kept of a step, but
# never what a step learns: a run that has begun may go on with others.
LENGTH = ("epochs", "max_steps")
LOGGING = (
    "track",
    "track_project",
    "track_space",
    "logging_steps",
    "eval_steps",
    "save_steps",
    "save_minutes",
    "save_limit",
    "on_error",
    "gradient_checkpointing",
)


def can_extend(field: str) -> bool:
    """Whether a run that has begun may go on with another value of a dotted field."""
    return field in (*LENGTH, *LOGGING) or (field.startswith("eval.") and ".during" not in field)


def flatten(fields: Fields, parents: str = "") -> Fields:
    """A recipe's fields with nested ones under dotted names."""
    flat: Fields = {}
    for key, value in fields.items():
        flat |= flatten(value, f"{parents}{key}.") if isinstance(value, dict) else {parents + key: value}
    return flat


def recipe_differences(first: Recipe, second: Recipe) -> dict[str, tuple[Any, Any]]:
    """{dotted field: (value in first, value in second)} where the two recipes differ."""
    left, right = flatten(first.model_dump()), flatten(second.model_dump())
    return {
        key: (left.get(key), right.get(key)) for key in {**left, **right} if left.get(key) != right.get(key)
    }
