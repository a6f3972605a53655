"""Which evaluations were asked of a run, and whether they were done."""

from collections.abc import Iterable
from pathlib import Path

from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import FailedEvaluation
from paceline.runs.files import JsonObject
from paceline.runs.manifest import read_sealed, write_sealed
from paceline.runs.records import Record, read_record, write_record
from paceline.runs.seals import damaged_results, unseal


class EvaluationStatus(Record):
    """One evaluation of one run: done, or the `reason` why not."""

    run: str
    evaluation: str
    done: bool
    reason: str = ""


def evaluation_statuses(directories: Iterable[RunDirectory]) -> list[EvaluationStatus]:
    """Every evaluation that was asked of the runs, run by run."""
    return [status for directory in directories for status in _of_run(directory)]


def not_evaluated(statuses: Iterable[EvaluationStatus]) -> list[str]:
    """A sentence for each evaluation that did not happen and each reason, with the runs it is missing for."""
    missing: dict[tuple[str, str], list[str]] = {}
    for status in statuses:
        if not status.done:
            missing.setdefault((status.evaluation, status.reason), []).append(status.run)
    return [f"{kind} was not done for {', '.join(runs)}: {why}" for (kind, why), runs in missing.items()]


def made_with(folder: Path, kind: str) -> JsonObject | None:
    """What decided the results of an evaluation in a run's eval folder; None: there are none.

    `settings` are the recipe's, the other keys what else was looked at.
    """
    stored = _settings(folder, kind)
    return read_sealed(stored) if stored.is_file() else None


def set_done(folder: Path, kind: str, decided_by: JsonObject) -> None:
    """Says what decided the results in a run's eval folder."""
    write_sealed(_settings(folder, kind), decided_by)
    unseal(_failure(folder, kind))
    _failure(folder, kind).unlink(missing_ok=True)


def set_undone(folder: Path, kind: str) -> None:
    """Says that the results in a run's eval folder are no longer those that its recipe asks for."""
    _settings(folder, kind).unlink(missing_ok=True)


def forget_damaged(folder: Path) -> list[str]:
    """Takes damaged results out of a run's eval folder, so that it is evaluated anew; their names."""
    damaged = damaged_results(folder)
    for settings in folder.glob("*-settings.json"):
        try:
            read_sealed(settings)
        except RunError:
            damaged.append(settings.name)
    if damaged:
        for name in damaged:
            (folder / name).unlink(missing_ok=True)
            unseal(folder / name)
        for settings in folder.glob("*-settings.json"):
            settings.unlink()
    return damaged


def set_failed(folder: Path, failed: FailedEvaluation) -> None:
    """Says why an evaluation is not among the results in a run's eval folder."""
    write_record(_failure(folder, failed.evaluation), failed)


def _settings(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-settings.json"


def _failure(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-failed.json"


def _of_run(directory: RunDirectory) -> list[EvaluationStatus]:
    asked = {
        kind: settings.model_dump(mode="json")
        for kind, settings in directory.recipe().eval
        if settings is not None
    }
    failed = [path.name.removesuffix("-failed.json") for path in sorted(directory.eval.glob("*-failed.json"))]
    damaged = damaged_results(directory.eval)
    statuses = []
    for kind in dict.fromkeys([*asked, *failed]):
        made = made_with(directory.eval, kind)
        done = kind in asked and made is not None and made.get("settings") == asked[kind] and not damaged
        reason = "" if done else _reason(directory, kind, damaged)
        statuses.append(EvaluationStatus(run=directory.name, evaluation=kind, done=done, reason=reason))
    return statuses


def _reason(directory: RunDirectory, kind: str, damaged: list[str]) -> str:
    if damaged:
        return f"missing or damaged: {', '.join(damaged)}; the command that trained the run evaluates anew"
    if (failure := _failure(directory.eval, kind)).is_file():
        return read_record(failure, FailedEvaluation).reason
    if (state := directory.status().state) != "finished":
        return f"the run is {state}"
    return "it was left out or stopped; the command that trained the run does it"
