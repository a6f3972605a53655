"""Trains a study: prepares all runs, groups those that share a base, and goes on where it stopped."""

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from pathlib import Path

from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import PacelineError, TrainingError
from paceline.model.base import Base, load_base, read_config
from paceline.model.quantization import BaseFormat, require_bitsandbytes
from paceline.model.sharding import shard
from paceline.runs.directory import RunDirectory, State, check_room, run_bytes
from paceline.runs.inputs import changes_of_finished, read_inputs, refuse_other_inputs, write_inputs
from paceline.runs.study import write_study_record
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
from paceline.training.teacher import load_teachers

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
        PacelineError: bad input; nothing of the cohort has been written then.
    """
    _refuse_distributed(study, options.distributed)
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
    preparer = Preparer()
    finished = [run for run in study.runs if run.name in skipped]
    _check_finished(finished, study, folder, options, preparer, bool(pending))
    for run in finished:
        if run.name in evaluated:
            RunDirectory(folder / run.name).replace_recipe(run.recipe)
    for runs in group_by_base(pending, lambda run: run.recipe).values():
        cohort = _make_cohort(study, folder, options, preparer, runs, extended)
        cohort.train()
        if cohort.stopped:
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


def _make_cohort(
    study: Study,
    folder: Path,
    options: TrainingOptions,
    preparer: Preparer,
    runs: Sequence[Run],
    extended: Set[str],
) -> Cohort:
    """Prepares runs that share a base, refuses what cannot be trained, and only then writes anything."""
    log = options.log
    _refuse_missing(runs)
    log(f"reading and tokenizing the data of {len(runs)} run{'s' * (len(runs) > 1)}")
    prepared = {run.name: preparer.prepare(run.recipe) for run in runs}
    for line in dict.fromkeys(one.summary() for one in prepared.values()):
        log(line)
    parents = {run.name: find_parent(run, study, folder) for run in runs}
    base = _load(runs[0].recipe, options)
    teachers = load_teachers([run.recipe for run in runs], preparer, base, log)
    directories = {run.name: RunDirectory(folder / run.name) for run in runs}
    inputs = {name: gather_inputs(one, preparer, parents[name]) for name, one in prepared.items()}
    extensions = {
        name: plan_extension(directories[name], prepared[name]) for name in extended & set(prepared)
    }
    began = {name: gather_inputs(one.before, preparer, parents[name]) for name, one in extensions.items()}
    for name, directory in directories.items():
        if said := refuse_other_inputs(directory, began.get(name, inputs[name])):
            log(said)
    for line in (line for extension in extensions.values() for line in extension.lines):
        log(line)
    check_room(folder, sum(run_bytes(base.adapter_size(run.recipe), run.recipe) + 2**20 for run in runs))
    new = {name: one for name, one in prepared.items() if directories[name].latest_checkpoint() is None}
    options.preflight(base, preparer, new)
    for run in runs:
        if run.name in extensions:
            extensions[run.name].apply(run.recipe, inputs[run.name])
        elif read_inputs(directories[run.name].path) is None:
            write_inputs(directories[run.name].path, inputs[run.name])
        directories[run.name].claim(run.recipe)
    write_study_record(study, folder)
    reference, cohort_runs = HiddenStateCache(base), []
    for run in runs:
        distill, directory = run.recipe.distill, directories[run.name]
        around = Surroundings(
            study=study.name,
            reference=reference,
            teacher=teachers[distill.teacher, distill.quantize] if distill else None,
            scorer=options.make_scorer(base, directory, run.recipe),
            callbacks=options.callbacks,
            distributed=options.distributed,
            inputs=inputs[run.name],
        )
        cohort_runs.append(TrainingRun(base, prepared[run.name], directory, around))
    start = RunStarter(base, parents, log)
    return Cohort(base, cohort_runs, start, options.callbacks, options.token_budget, options.distributed)


def _refuse_missing(runs: Sequence[Run]) -> None:
    """Refuses what the runs need and this machine lacks, before any data is read."""
    recipe = runs[0].recipe
    read_config(recipe.base)
    BaseFormat.of(recipe).require()
    if any(run.recipe.optim == "adamw8bit" for run in runs):
        require_bitsandbytes("optim: adamw8bit")


def _load(recipe: Recipe, options: TrainingOptions) -> Base:
    base_format = BaseFormat.of(recipe)
    stored = "" if base_format.quantize == "none" else f" as {base_format.quantize}"
    options.log(f"loading the base {recipe.base}{stored}")
    base = load_base(recipe.base, base_format=base_format)
    if options.distributed.sharded:
        shard(base, options.distributed.size)
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
