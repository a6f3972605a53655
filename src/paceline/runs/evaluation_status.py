"""Which evaluations were asked of a run, and whether they were done."""

from collections.abc import Iterable
from pathlib import Path

from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import FailedEvaluation
from paceline.runs.files import JsonObject, read_json, write_json
from paceline.runs.records import Record, read_record, write_record


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


def is_done(folder: Path, kind: str, settings: JsonObject) -> bool:
    """Whether a run's eval folder has the results of an evaluation with these settings."""
    stored = folder / f"{kind}-settings.json"
    return stored.is_file() and read_json(stored) == settings


def set_done(folder: Path, kind: str, settings: JsonObject) -> None:
    """Says with which settings the results in a run's eval folder were made."""
    write_json(folder / f"{kind}-settings.json", settings)
    _failure(folder, kind).unlink(missing_ok=True)


def set_failed(folder: Path, failed: FailedEvaluation) -> None:
    """Says why an evaluation is not among the results in a run's eval folder."""
    write_record(_failure(folder, failed.evaluation), failed)


def _failure(folder: Path, kind: str) -> Path:
    return folder / f"{kind}-failed.json"


def _of_run(directory: RunDirectory) -> list[EvaluationStatus]:
    asked = {
        kind: settings.model_dump(mode="json")
        for kind, settings in directory.recipe().eval
        if settings is not None
    }
    failed = [path.name.removesuffix("-failed.json") for path in sorted(directory.eval.glob("*-failed.json"))]
    statuses = []
    for kind in dict.fromkeys([*asked, *failed]):
        done = kind in asked and is_done(directory.eval, kind, asked[kind])
        reason = "" if done else _reason(directory, kind)
        statuses.append(EvaluationStatus(run=directory.name, evaluation=kind, done=done, reason=reason))
    return statuses


def _reason(directory: RunDirectory, kind: str) -> str:
    if (failure := _failure(directory.eval, kind)).is_file():
        return read_record(failure, FailedEvaluation).reason
    if (state := directory.status().state) != "finished":
        return f"the run is {state}"
    return "it was left out or stopped; the command that trained the run does it"
