"""Before a study is paid for: what will go wrong, and what it will need."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from paceline.api.callbacks import tell_notes, teller
from paceline.api.findings import Findings
from paceline.api.loading import as_study
from paceline.config.recipe import Recipe
from paceline.config.study import Study
from paceline.doctor.check import check_study
from paceline.evaluate.study import check_evaluations
from paceline.report.trackers import check_trackers
from paceline.training.callbacks import Callback as TrainingCallback
from paceline.training.estimate import CohortEstimate, estimate_study


def check(
    study: Study | Recipe | str | Path,
    folder: str | Path = ".",
    callbacks: Sequence[TrainingCallback] = (),
) -> Findings:
    """Says what will go wrong, without training: reads the data, loads the base, probes it for two steps.

    Args:
        study: a study, a recipe, or a file of either.
        folder: where it would be trained; its disk is looked at.
        callbacks: told what happens, by `on_message`.

    Returns:
        What was found, worst first; nothing where all is well.

    Raises:
        PacelineError: what training would refuse at once: no such file, unreadable data, an evaluation
            that cannot be done, an unknown tracker.
    """
    made = as_study(study)
    tell_notes(callbacks, made)
    recipes = [run.recipe for run in made.runs]
    check_evaluations(recipes)
    check_trackers(recipes)
    return Findings(check_study(made, Path(folder), teller(callbacks)))


def plan(
    study: Study | Recipe | str | Path,
    token_budget: int | None = None,
    callbacks: Sequence[TrainingCallback] = (),
) -> list[CohortEstimate]:
    """Estimates what a study needs, from its data and a short measurement; writes nothing.

    Args:
        study: a study, a recipe, or a file of either.
        token_budget: tokens of one forward, as it will be trained with.
        callbacks: told what happens, by `on_message`.

    Returns:
        One estimate for all runs that train together: memory in bytes by part, each run's steps, tokens and
        seconds.

    Raises:
        PacelineError: what training would refuse.
    """
    return estimate_study(as_study(study), token_budget, teller(callbacks))
