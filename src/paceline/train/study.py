"""Trains a study: prepares all runs, groups those that share a base, and goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import yaml

from paceline.config.study import Run, Study
from paceline.model.base import Base, load_base, read_config
from paceline.train.cohort import Cohort
from paceline.train.files import write_whole
from paceline.train.heldout import ExampleLosses, held_out_losses
from paceline.train.prepare import Prepared, Preparer
from paceline.train.run import TrainingRun
from paceline.train.rundir import RunDirectory, check_room

Observe = Callable[[Cohort], None]


@dataclass(frozen=True)
class Outcome:
    """What became of a study's runs, in its order: finished, failed or stopped, and how many had been finished before."""

    directories: list[RunDirectory]
    skipped: list[str]

    def states(self) -> dict[str, str]:
        return {directory.name: directory.status()["state"] for directory in self.directories}


def train_study(
    study: Study, folder: Path, observe: Observe = lambda cohort: None, say: Callable[[str], None] = lambda line: None
) -> Outcome:
    """Trains all runs of a study that are not finished, those with the same base together.

    Args:
        folder: where the run directories are, one a run, named after it.
        say: is told in a line what is about to happen.

    Raises:
        UserError: bad input; nothing has been written then.
    """
    directories = [RunDirectory(folder / run.name) for run in study.runs]
    skipped = [d.name for d in directories if d.status()["state"] in ("finished", "failed")]
    for run, directory in zip(study.runs, directories, strict=True):
        directory.check(run.recipe)
    pending = [(run, d) for run, d in zip(study.runs, directories, strict=True) if d.name not in skipped]
    for base_name in dict.fromkeys(run.recipe.base for run, _ in pending):
        cohort = _make_cohort(base_name, [(run, d) for run, d in pending if run.recipe.base == base_name], study, folder, say)
        cohort.train(observe)
        if cohort.stopping:
            break
    return Outcome(directories, skipped)


def _make_cohort(base_name: str, pending: list[tuple[Run, RunDirectory]], study: Study, folder: Path, say: Callable[[str], None]) -> Cohort:
    read_config(base_name)
    say(f"reading and tokenizing the data of {len(pending)} run{'s' * (len(pending) > 1)}")
    preparer = Preparer()
    prepared = [preparer.prepare(run.recipe) for run, _ in pending]
    say(f"loading the base {base_name}")
    base = load_base(base_name)
    sizes = [base.new_adapter(p.recipe).parameters.numel() * 4 * (2 + 3 * (1 + p.recipe.save_limit)) for p in prepared]
    check_room(folder, sum(sizes) + 2**20 * len(sizes))
    for run, directory in pending:
        directory.claim(run.recipe)
    write_study(study, folder)
    runs = [TrainingRun(base, p, directory) for p, (_, directory) in zip(prepared, pending, strict=True)]
    say("evaluating the base")
    known: list[tuple[Prepared, ExampleLosses]] = []
    for training in runs:
        training.start(_base_losses(base, training.prepared, training.directory, known))
    return Cohort(base, runs)


def _base_losses(base: Base, prepared: Prepared, directory: RunDirectory, known: list[tuple[Prepared, ExampleLosses]]) -> ExampleLosses:
    """The bare base's held-out losses: from disk, from a run with the same held-out examples, or measured now."""
    stored = directory.eval / "base.parquet"
    if stored.is_file():
        return ExampleLosses.read(stored)
    for other, losses in known:
        same = other.dataset is prepared.dataset and other.recipe.max_length == prepared.recipe.max_length
        if same and other.recipe.data.eval_ratio == prepared.recipe.data.eval_ratio:
            return losses
    losses = held_out_losses(base, None, prepared.dataset, prepared.split.eval, prepared.recipe.max_length)
    known.append((prepared, losses))
    return losses


def write_study(study: Study, folder: Path) -> None:
    """Puts what the run directories do not hold beside them: the order of the runs, hypotheses, objective, published figures."""
    runs = [{"name": run.name, "hypothesis": run.hypothesis} for run in study.runs]
    content = {"study": study.name, "objective": study.objective, "runs": runs, "published": study.published}
    write_whole(folder / "study.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
