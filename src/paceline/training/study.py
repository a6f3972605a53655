"""Trains a study: prepares all runs, groups those that share a base, and goes on where it stopped."""

from __future__ import annotations

import gc
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch

from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import PacelineError, TrainingError
from paceline.model.base import Base, default_device, load_base, read_config
from paceline.model.quantization import BaseFormat, require_bitsandbytes
from paceline.model.sharding import shard
from paceline.runs.directory import RunDirectory, State, check_room, run_bytes
from paceline.runs.inputs import Inputs, changes_of_finished, read_inputs, refuse_other_inputs, write_inputs
from paceline.runs.study import refuse_other_study, write_study_record
from paceline.training.callbacks import Callback
from paceline.training.cohort import Cohort
from paceline.training.distributed import SINGLE_PROCESS, DistributedContext
from paceline.training.extend import may_extend, only_evaluations, plan_extension
from paceline.training.hidden_cache import HiddenStateCache
from paceline.training.inputs import gather_inputs
from paceline.training.mend import mend
from paceline.training.prepare import Prepared, Preparer, group_by_base
from paceline.training.run import Surroundings, TrainingRun
from paceline.training.run_evaluation import Scorer, no_scorer
from paceline.training.start import RunStarter, find_parent
from paceline.training.teacher import Teachers, load_teachers

# Sees a loaded base and the prepared runs that are about to begin, by name; raises to refuse them.
Preflight = Callable[[Base, Preparer, Mapping[str, Prepared]], None]
# Makes what asks a run the questions of `eval.mtbench.during`.
MakeScorer = Callable[[Base, RunDirectory, Recipe], Scorer]


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study's runs, in its order, and which had been over before."""

    directories: list[RunDirectory]
    skipped: list[str]

    def states(self) -> dict[str, State]:
        """{run: finished, failed, stopped or new}."""
        return {directory.name: directory.status().state for directory in self.directories}


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """How a study is trained, beside its recipes.

    Args:
        callbacks: follow the training.
        preflight: sees each cohort before it begins, and may refuse it.
        make_scorer: makes what asks a benchmark while a run trains.
        token_budget: tokens of one forward; changes memory and speed only.
        distributed: the processes that share each step's micro-batches; with more than one, a study has
            one run.
        extend: let runs that were begun with another length or other logging go on with the new one.
    """

    callbacks: Sequence[Callback] = ()
    preflight: Preflight = lambda base, preparer, runs: None
    make_scorer: MakeScorer = lambda base, directory, recipe: no_scorer
    token_budget: int | None = None
    distributed: DistributedContext = SINGLE_PROCESS
    extend: bool = False

    def log(self, line: str) -> None:
        """Tells the callbacks what is about to happen."""
        for callback in self.callbacks:
            callback.on_message(line)


def train_study(study: Study, folder: Path, options: TrainingOptions = TrainingOptions()) -> StudyOutcome:
    """Trains all runs of a study that are not over, those with the same base together.

    Args:
        folder: where the run directories are, one a run, named after it.

    Raises:
        PacelineError: bad input; nothing has been trained or written then.
    """
    _refuse_distributed(study, options.distributed)
    refuse_other_study(study, folder)
    directories = [RunDirectory(folder / run.name) for run in study.runs]
    for run, directory in zip(study.runs, directories, strict=True):
        mend(directory, run.recipe, options.log)
    extended, evaluated = set(), set()
    for run, directory in zip(study.runs, directories, strict=True):
        if not options.extend or not may_extend(study, directory, run.recipe):
            directory.check(run.recipe)
        elif only_evaluations(directory, run.recipe):
            evaluated.add(run.name)
        else:
            extended.add(run.name)
    over = [directory.name for directory in directories if directory.status().over]
    skipped = [name for name in over if name not in extended]
    pending = [run for run in study.runs if run.name not in skipped]
    preparer = Preparer(options.log)
    finished = [run for run in study.runs if run.name in skipped]
    _check_finished(finished, study, folder, options, preparer, bool(pending))
    for run in finished:
        if run.name in evaluated:
            RunDirectory(folder / run.name).replace_recipe(run.recipe)
    groups = group_by_base(pending, lambda run: run.recipe).values()
    waiting = [_PendingCohort(study, folder, options, preparer, runs, extended) for runs in groups]
    _check_all(waiting, folder)
    for cohort in waiting:
        if _train(cohort):
            break
    return StudyOutcome(directories, skipped)


def _check_finished(
    runs: Sequence[Run],
    study: Study,
    folder: Path,
    options: TrainingOptions,
    preparer: Preparer,
    more: bool,
) -> None:
    """Says which finished runs had other inputs than there are now, and trains no other runs beside them.

    Inputs that can no longer be read, since a file is gone or a hub out of reach, are said to be so.
    """
    for run in runs:
        directory = RunDirectory(folder / run.name)
        if directory.status().state != "finished":
            continue
        try:
            prepared = preparer.prepare(run.recipe)
            now = gather_inputs(prepared, preparer, find_parent(run, study, folder))
        except PacelineError as error:
            options.log(
                f"{run.name} has finished; whether its inputs are what they were cannot be told: {error}"
            )
            continue
        changes = changes_of_finished(directory, now)
        if changes and more:
            raise TrainingError(f"{changes}, or runs of one study would be compared on different inputs")
        if changes:
            options.log(changes)


def _check_all(cohorts: Sequence[_PendingCohort], folder: Path) -> None:
    """Checks the first cohort last: its base is the only one in memory then, and trains next."""
    for cohort in reversed(cohorts):
        cohort.check()
        if cohort is not cohorts[0]:
            cohort.unload()
    if len(cohorts) > 1:
        check_room(folder, sum(cohort.needed for cohort in cohorts))


def _train(pending: _PendingCohort) -> bool:
    """Whether a callback ended the training; the base is let go of."""
    cohort = pending.begin()
    cohort.train()
    pending.unload()
    return cohort.stopped


class _PendingCohort:
    """Runs that share a base, until they train: read, checked, and only then given their directories.

    All cohorts of a study are read and checked before the first one trains. `needed` are the bytes that a
    checked one's runs have on disk at most, less what they have there already.
    """

    def __init__(
        self,
        study: Study,
        folder: Path,
        options: TrainingOptions,
        preparer: Preparer,
        runs: Sequence[Run],
        extended: Set[str],
    ) -> None:
        self._study, self._folder, self._options, self._preparer = study, folder, options, preparer
        self._runs = runs
        self._directories = {run.name: RunDirectory(folder / run.name) for run in runs}
        self._extended = [run.name for run in runs if run.name in extended]
        _refuse_missing(runs)
        options.log(f"reading and tokenizing the data of {len(runs)} run{'s' * (len(runs) > 1)}")
        self._prepared = {run.name: preparer.prepare(run.recipe) for run in runs}
        for line in dict.fromkeys(one.summary() for one in self._prepared.values()):
            options.log(line)
        self._parents = {run.name: find_parent(run, study, folder) for run in runs}
        self._loaded: tuple[Base, Teachers] | None = None
        self.needed = 0

    def check(self) -> None:
        """Refuses what cannot be trained with this base, or cannot go on."""
        log, prepared, directories = self._options.log, self._prepared, self._directories
        base, _ = self._load()
        self._inputs = {name: self._gather(one, name) for name, one in prepared.items()}
        self._extensions = {
            name: plan_extension(directories[name], prepared[name]) for name in self._extended
        }
        began = {name: self._gather(one.before, name) for name, one in self._extensions.items()}
        for name, directory in directories.items():
            if said := refuse_other_inputs(directory, began.get(name, self._inputs[name])):
                log(said)
        for line in (line for extension in self._extensions.values() for line in extension.lines):
            log(line)
        for run in self._runs:
            most = run_bytes(base.adapter_size(run.recipe), run.recipe) + 2**20
            self.needed += max(0, most - directories[run.name].bytes_held())
        check_room(self._folder, self.needed)
        new = {n: one for n, one in prepared.items() if directories[n].latest_checkpoint() is None}
        self._options.preflight(base, self._preparer, new)

    def begin(self) -> Cohort:
        """Makes the directories these runs', and the runs ready to train."""
        study, options, (base, teachers) = self._study, self._options, self._load()
        for run in self._runs:
            directory, inputs = self._directories[run.name], self._inputs[run.name]
            if run.name in self._extensions:
                self._extensions[run.name].apply(run.recipe, inputs)
            elif read_inputs(directory.path) is None:
                write_inputs(directory.path, inputs)
            directory.claim(run.recipe)
        write_study_record(study, self._folder)
        reference, cohort_runs = HiddenStateCache(base), []
        for run in self._runs:
            distill, directory = run.recipe.distill, self._directories[run.name]
            around = Surroundings(
                study=study.name,
                reference=reference,
                teacher=teachers[distill.teacher, distill.quantize] if distill else None,
                scorer=options.make_scorer(base, directory, run.recipe),
                callbacks=options.callbacks,
                distributed=options.distributed,
                inputs=self._inputs[run.name],
            )
            cohort_runs.append(TrainingRun(base, self._prepared[run.name], directory, around))
        if options.token_budget and not base.runs_share_forwards:
            options.log(
                "the token budget has no effect: each micro-batch of this base has a forward of its own"
            )
        start = RunStarter(base, self._parents, options.log)
        return Cohort(base, cohort_runs, start, options.callbacks, options.token_budget, options.distributed)

    def unload(self) -> None:
        """Lets go of the base and of the teachers."""
        self._loaded = None
        gc.collect()  # a patched module is in a cycle with its forward

    def _load(self) -> tuple[Base, Teachers]:
        if self._loaded is None:
            recipes = [run.recipe for run in self._runs]
            base = _load(recipes[0], self._options)
            teachers = load_teachers(recipes, self._preparer, base, self._options.log)
            self._loaded = base, teachers
        return self._loaded

    def _gather(self, prepared: Prepared, name: str) -> Inputs:
        return gather_inputs(prepared, self._preparer, self._parents[name])


def _refuse_missing(runs: Sequence[Run]) -> None:
    """Refuses what the runs need and this machine lacks, before any data is read."""
    recipe = runs[0].recipe
    read_config(recipe.base)
    BaseFormat.of(recipe).require()
    if any(run.recipe.optim == "adamw8bit" for run in runs):
        require_bitsandbytes("optim: adamw8bit")
    sharing = [run.name for run in runs if run.recipe.share_prefixes]
    if sharing and default_device().type != "cpu":
        raise TrainingError(f"{sharing[0]}: share_prefixes works on a CPU only; leave it out")


def _load(recipe: Recipe, options: TrainingOptions) -> Base:
    base_format = BaseFormat.of(recipe)
    stored = "" if base_format.quantize == "none" else f" as {base_format.quantize}"
    options.log(f"loading the base {recipe.base}{stored}")
    if not options.distributed.sharded:
        return load_base(recipe.base, base_format=base_format)
    device = default_device()
    base = load_base(recipe.base, torch.device("cpu"), base_format.fixed(device))
    shard(base, options.distributed.size, device)
    return base


def _refuse_distributed(study: Study, distributed: DistributedContext) -> None:
    if distributed.size > 1 and len(study.runs) > 1:
        raise TrainingError(
            "several processes train one run together; "
            "a study is spread over GPUs with `paceline launch --on ray`"
        )
    if distributed.sharded and any(run.recipe.kl or run.recipe.distill for run in study.runs):
        raise TrainingError(
            "--shard-base goes with neither a KL anchor nor distillation: "
            "processes would run different forwards"
        )
