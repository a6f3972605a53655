"""The evaluations that recipes ask for: checked before training, done for the runs of a base at once."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from paceline.config.recipe import Recipe
from paceline.errors import DataError, EvaluationError, MissingExtra, ModelError, ServiceError
from paceline.evaluate.adapters import load_adapters
from paceline.evaluate.evaluation import EVALUATIONS, EvaluationGroup, RunEvaluation
from paceline.evaluate.progress import NO_PROGRESS, EvaluationProgress
from paceline.model.quantization import BaseFormat
from paceline.runs.digests import path_digest
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import forget_damaged, made_with, set_done, set_failed
from paceline.runs.evaluations import EvaluationResult, FailedEvaluation
from paceline.runs.files import JsonObject

# What can go wrong with an evaluation that says nothing against the runs or the program.
_EXPECTED = (DataError, EvaluationError, MissingExtra, ModelError, ServiceError)

# Settings whose value may be a file or a folder.
_MAY_BE_FILES = ("data", "source", "lang", "judge_model", "judge_prompts")


def check_evaluations(recipes: Sequence[Recipe]) -> None:
    """Refuses, before anything is trained, evaluations that would fail afterwards.

    Raises:
        PacelineError: data or questions that are not there, a judge that cannot be asked, no compiler, no
        sandbox.
    """
    for evaluation in _evaluations():
        checked: list[Any] = []
        for recipe in recipes:
            settings = evaluation.settings(recipe)
            if settings is not None and settings not in checked:
                evaluation.check(settings)
                checked.append(settings)


def evaluate_study(
    directories: Sequence[RunDirectory], folder: Path, progress: EvaluationProgress = NO_PROGRESS
) -> list[EvaluationResult]:
    """Evaluates the finished runs as their recipes ask; results that are there are kept.

    Runs with the same base and the same evaluations are evaluated together. Answers and replies are gathered
    in `folder`, from where a stopped evaluation goes on; every run gets its own share of the results, with
    the base's, into its eval folder.

    Returns:
        The result of each evaluation that was done now. One that failed is a FailedEvaluation among them; it
        is tried again the next time.
    """
    for directory in directories:
        if damaged := forget_damaged(directory.eval):
            progress.log(f"{directory.name}: missing or damaged: {', '.join(damaged)}; evaluates anew")
    results: list[EvaluationResult] = []
    groups = _groups(directories)
    for number, group in enumerate(groups, 1):
        missing = [evaluation for evaluation in _evaluations() if not _is_done(evaluation, group)]
        if not missing:
            continue
        scratch = group[0].eval if len(directories) == 1 else folder / "eval"
        scratch = scratch / f"group-{number}" if len(groups) > 1 else scratch
        scratch.mkdir(parents=True, exist_ok=True)
        prepared = EvaluationGroup(
            adapter_set=load_adapters([directory.path for directory in group], with_base=True),
            directories=group,
            scratch=scratch,
            progress=progress,
        )
        results += [_evaluate(evaluation, prepared) for evaluation in missing]
    return results


def _evaluations() -> list[RunEvaluation[Any]]:
    return [EVALUATIONS.get(name) for name in EVALUATIONS.names()]


def _groups(directories: Sequence[RunDirectory]) -> list[list[RunDirectory]]:
    """The finished runs, those with the same base and evaluations together."""
    groups: dict[str, list[RunDirectory]] = {}
    for directory in directories:
        if directory.status().state == "finished":
            recipe = directory.recipe()
            asked = recipe.eval.model_dump(mode="json", exclude={"mtbench": {"during"}})
            key = json.dumps([recipe.base, vars(BaseFormat.of(recipe)), asked], default=str)
            groups.setdefault(key, []).append(directory)
    return list(groups.values())


def _is_done(evaluation: RunEvaluation[Any], group: Sequence[RunDirectory]) -> bool:
    """Whether every run has the results that its recipe asks for, or asks for none."""
    for directory in group:
        settings = evaluation.settings(directory.recipe())
        if settings is not None and made_with(directory.eval, evaluation.kind) != _asked(settings, directory):
            return False
    return True


def _asked(settings: Any, directory: RunDirectory) -> JsonObject:
    """All that decides a result: the settings, the content of files that they name, the adapter."""
    fields = settings.model_dump(mode="json")
    named = [str(fields[name]) for name in _MAY_BE_FILES if fields.get(name) is not None]
    files = {name: path_digest(Path(name)) for name in named if Path(name).exists()}
    return {"settings": fields, "files": files, "adapter": path_digest(directory.adapter)}


def _evaluate(evaluation: RunEvaluation[Any], group: EvaluationGroup) -> EvaluationResult:
    settings = evaluation.settings(group.directories[0].recipe())
    try:
        result = evaluation.evaluate(settings, group)
    except _EXPECTED as error:
        group.progress.log(f"{evaluation.kind}: not evaluated: {error}")
        missing = [directory for directory in group.directories if not _is_done(evaluation, [directory])]
        names = tuple(directory.name for directory in missing)
        failed = FailedEvaluation(evaluation=evaluation.kind, runs=names, reason=str(error))
        for directory in missing:
            set_failed(directory.eval, failed)
        return failed
    for directory in group.directories:
        if (own := evaluation.settings(directory.recipe())) is not None:  # `during` may differ in a group
            set_done(directory.eval, evaluation.kind, _asked(own, directory))
    return result
