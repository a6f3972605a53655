"""What runs inside a job: fetch the study, train it where it stopped, report, and give everything back.

What there is goes back now and then as well, so a job that is cut off loses minutes at most.
"""

import multiprocessing
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from paceline.config.load import load_study
from paceline.config.study import Study
from paceline.errors import PacelineError
from paceline.export.hub import pull, upload

# Seconds between two uploads: what a job that is cut off loses at most.
EVERY = 300.0


def main(repository: str, folder: Path = Path("paceline-job"), every: float = EVERY) -> int:
    """Trains the repository's study in a process of its own; gives that process's exit status."""
    pull(repository, folder, print)
    file = folder / "study.yaml"
    runs = folder / "runs" / load_study(file).name
    with _kept(folder, repository, every):
        process = multiprocessing.get_context("spawn").Process(target=train_and_report, args=(file, runs))
        process.start()
        process.join()
    status = process.exitcode or 0
    upload(folder, repository, "done" if status == 0 else f"ended with status {status}", False, print)
    return status


def train_and_report(file: Path, runs: Path) -> None:
    """Runs a study and writes its report; exits with the status that `paceline study run` would give.

    Code that this machine cannot run is left to the machine that the runs come back to.
    """
    from paceline.api.findings import CheckFailed
    from paceline.api.inspection import write_report
    from paceline.api.progress import ProgressBar
    from paceline.api.study import run_study

    study = load_study(file)
    try:
        _check_all_but_code(study)
        result = run_study(study, runs, [ProgressBar()], evaluate=False)
        if result.state == "finished":
            result = run_study(study, runs, [ProgressBar()])
    except PacelineError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1 if isinstance(error, CheckFailed) else 2)
    for run in result:
        print(f"{run.name}: {run.status.state} {run.status.reason}".rstrip())
    if result.state != "finished":
        sys.exit(1)
    for sentence in write_report(runs).conclusions:
        print(f"- {sentence}")


def _check_all_but_code(study: Study) -> None:
    """Refuses what can be evaluated on no machine, and says what cannot on this one.

    Jobs run in images without compilers, in which a sandbox may be forbidden.
    """
    from paceline.evaluate.study import check_evaluations

    recipes = [run.recipe for run in study.runs]
    try:
        check_evaluations(recipes)
    except PacelineError as error:
        without = [
            recipe.model_copy(update={"eval": recipe.eval.model_copy(update={"code": None})})
            for recipe in recipes
        ]
        check_evaluations(without)
        print(
            f"the code that runs write is not run in this job: {error}. `paceline study run` does that, "
            "with --runs the folder that they come back to"
        )


@contextmanager
def _kept(folder: Path, repository: str, every: float) -> Iterator[None]:
    """Uploads what is in a folder every so many seconds."""
    ended = threading.Event()

    def keep() -> None:
        while not ended.wait(every):
            try:
                upload(folder, repository, "so far", False, print)
            except PacelineError as error:  # the next one may come through
                print(error, flush=True)

    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        ended.set()
        keeper.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
