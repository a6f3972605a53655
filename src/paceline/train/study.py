"""Trains a study: prepares all runs, groups those that share a base, and goes on where it stopped."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import yaml
from numpy.typing import NDArray

from paceline.config.recipe import Recipe
from paceline.config.study import Run, Study
from paceline.errors import TrainingError
from paceline.model.base import Base, load_base, read_config
from paceline.model.quantization import BaseFormat, require_bitsandbytes
from paceline.model.sharding import shard
from paceline.runs.directory import RunDirectory, check_room, run_bytes
from paceline.runs.files import write_whole
from paceline.runs.losses import ExampleLosses
from paceline.train.cohort import Cohort
from paceline.train.curriculum import order_key
from paceline.train.distributed import SINGLE_PROCESS, DistributedContext
from paceline.train.heldout import held_out_losses
from paceline.train.hidden_cache import HiddenStateCache
from paceline.train.prepare import Prepared, Preparer, group_by_base
from paceline.train.run import Judge, Probe, Sink, TrainingRun, no_probe
from paceline.train.teacher import load_teachers

Observe = Callable[[Cohort], None]
Pending = list[tuple[Run, RunDirectory]]


@dataclass(frozen=True)
class Hooks:
    """What is told of the training, and may look on.

    `observe` is called after every tick; `say` is told in a line what is about to happen; `inspect` sees a loaded base and the prepared
    runs that are about to begin, and may raise; `judge` makes what follows one run's events; `probe` what asks a run the questions of
    `eval.mtbench.during`; `sink`, for a study's name and a run, what follows its new events.
    """

    observe: Observe = lambda cohort: None
    log: Callable[[str], None] = lambda line: None
    inspect: Callable[[Base, Preparer, list[tuple[str, Recipe, Prepared]]], None] = (
        lambda base, preparer, runs: None
    )
    judge: Callable[[Recipe], Judge] = lambda recipe: lambda event: []
    probe: Callable[[Base, RunDirectory, Recipe], Probe] = lambda base, directory, recipe: no_probe
    sink: Callable[[str, RunDirectory, Recipe], Sink] = lambda study, directory, recipe: lambda event: None


@dataclass(frozen=True)
class StudyOutcome:
    """What became of a study's runs, in its order: finished, failed or stopped, and how many had been finished before."""

    directories: list[RunDirectory]
    skipped: list[str]

    def states(self) -> dict[str, str]:
        return {directory.name: directory.status()["state"] for directory in self.directories}


def train_study(
    study: Study,
    folder: Path,
    hooks: Hooks = Hooks(),
    budget: int | None = None,
    distributed: DistributedContext = SINGLE_PROCESS,
) -> StudyOutcome:
    """Trains all runs of a study that are not finished, those with the same base together.

    Args:
        folder: where the run directories are, one a run, named after it.
        budget: tokens of one forward; changes memory and speed only.
        world: the processes that share the pieces of each step; with more than one, a study of one run.

    Raises:
        TrainingError: bad input; nothing has been written then.
    """
    _refuse_in_a_world(study, distributed)
    directories = [RunDirectory(folder / run.name) for run in study.runs]
    skipped = [d.name for d in directories if d.status()["state"] in ("finished", "failed")]
    for run, directory in zip(study.runs, directories, strict=True):
        directory.check(run.recipe)
    pending = [(run, d) for run, d in zip(study.runs, directories, strict=True) if d.name not in skipped]
    for cohort_runs in group_by_base(pending, lambda entry: entry[0].recipe).values():
        cohort = _make_cohort(cohort_runs, study, folder, hooks, budget, distributed)
        cohort.train(hooks.observe)
        if cohort.stopping:
            break
    return StudyOutcome(directories, skipped)


def _make_cohort(
    pending: Pending,
    study: Study,
    folder: Path,
    hooks: Hooks,
    budget: int | None,
    distributed: DistributedContext,
) -> Cohort:
    log = hooks.log
    recipe = pending[0][0].recipe
    name, base_format = recipe.base, BaseFormat.of(recipe)
    read_config(name)
    base_format.require()
    if any(run.recipe.optim == "adamw8bit" for run, _ in pending):
        require_bitsandbytes("optim: adamw8bit")
    log(f"reading and tokenizing the data of {len(pending)} run{'s' * (len(pending) > 1)}")
    preparer = Preparer()
    prepared = [preparer.prepare(run.recipe) for run, _ in pending]
    for line in dict.fromkeys(p.summary() for p in prepared):
        log(line)
    parents = {run.name: _parent(run, study, folder) for run, _ in pending}
    log(
        f"loading the base {name}" + (f" as {base_format.quantize}" if base_format.quantize != "none" else "")
    )
    base = load_base(name, base_format=base_format)
    if distributed.sharded:
        shard(base, distributed.size)
    reference = HiddenStateCache(base)
    teachers = load_teachers([run.recipe for run, _ in pending], preparer, base, log)
    sizes = [run_bytes(base.new_adapter(p.recipe).parameters.numel(), p.recipe) for p in prepared]
    runs = [
        (p, directory, p.recipe.distill and teachers[p.recipe.distill.teacher, p.recipe.distill.quantize])
        for p, (_, directory) in zip(prepared, pending, strict=True)
    ]
    new = [
        (run.name, run.recipe, p)
        for (run, directory), p in zip(pending, prepared, strict=True)
        if directory.latest_checkpoint() is None
    ]
    check_room(folder, sum(sizes) + 2**20 * len(sizes))
    hooks.inspect(base, preparer, new)
    for run, directory in pending:
        directory.claim(run.recipe)
    write_study(study, folder)
    training = [
        TrainingRun(
            base,
            p,
            directory,
            reference,
            teacher or None,
            hooks.judge(p.recipe),
            hooks.probe(base, directory, p.recipe),
            hooks.sink(study.name, directory, p.recipe),
            distributed,
        )
        for p, directory, teacher in runs
    ]
    return Cohort(base, training, _Beginner(base, reference, parents, log), budget, distributed)


def _refuse_in_a_world(study: Study, distributed: DistributedContext) -> None:
    if distributed.size > 1 and len(study.runs) > 1:
        raise TrainingError(
            "several processes train one run together; a study is spread over GPUs with `paceline launch --on ray`"
        )
    if distributed.sharded and any(run.recipe.kl or run.recipe.distill for run in study.runs):
        raise TrainingError(
            "--shard-base goes with neither a KL anchor nor distillation: processes would run different forwards"
        )


def _parent(run: Run, study: Study, folder: Path) -> Path | None:
    """The run directory or adapter folder that a run starts from."""
    wanted = run.recipe.init_from
    if wanted is None:
        return None
    parent = next((other.recipe for other in study.runs if other.name == wanted), None)
    if parent is None:
        path = Path(wanted)
        adapter = path / "adapter" if (path / "adapter").is_dir() else path
        if not (adapter / "adapter_model.safetensors").is_file():
            raise TrainingError(
                f"run {run.name}: init_from {wanted!r} is neither a run of this study nor a folder with an adapter"
            )
        return adapter
    for field in ("base", "quantize", "lora_r", "target_modules"):
        mine, theirs = getattr(run.recipe, field), getattr(parent, field)
        if mine != theirs:
            raise TrainingError(
                f"run {run.name}: cannot start from {wanted}: {field} is {mine!r} here and {theirs!r} there"
            )
    return folder / wanted


class _Beginner:
    """Starts the runs of a cohort, measuring each set of examples under the bare base once."""

    def __init__(
        self,
        base: Base,
        reference: HiddenStateCache,
        parents: dict[str, Path | None],
        log: Callable[[str], None],
    ) -> None:
        self.base, self.reference, self.parents, self.log = base, reference, parents, log
        self._known: list[tuple[Prepared, str, NDArray[np.int64], ExampleLosses]] = []

    def __call__(self, run: TrainingRun) -> None:
        parent = self.parents[run.name]
        if parent is not None and (parent / "recipe.yaml").is_file():
            state = RunDirectory(parent).status()["state"]
            if state == "failed":
                run.give_up(f"the run that it starts from, {parent.name}, failed")
            if state != "finished":
                return
            parent = parent / "adapter"
        held_out = self._measure(run, "base", run.prepared.split.eval)
        key = order_key(run.prepared, lambda: self._measure(run, "base-train", run.prepared.split.train))
        run.start(held_out, key, parent)

    def _measure(self, run: TrainingRun, name: str, examples: NDArray[np.int64]) -> ExampleLosses:
        """The bare base's losses on a run's examples: from disk, from a run that sees the same ones, or measured now."""
        stored = run.directory.eval / f"{name}.parquet"
        if stored.is_file():
            return ExampleLosses.read(stored)
        mine = run.prepared
        same = (
            losses
            for other, what, others, losses in self._known
            if what == name and _same_cut(other, mine) and np.array_equal(others, examples)
        )
        losses = next(same, None)
        if losses is None:
            self.log(
                f"measuring the base on {len(examples):,} {'held-out' if name == 'base' else 'training'} examples"
            )
            losses = held_out_losses(self.base, None, mine.dataset, examples, mine.recipe.max_length)
            self._known.append((mine, name, examples, losses))
        losses.save(stored)
        return losses


def _same_cut(one: Prepared, other: Prepared) -> bool:
    return one.dataset is other.dataset and one.recipe.max_length == other.recipe.max_length


def write_study(study: Study, folder: Path) -> None:
    """Puts what the run directories do not hold beside them: the order of the runs, hypotheses, objective, published figures."""
    runs = [{"name": run.name, "hypothesis": run.hypothesis} for run in study.runs]
    content = {"study": study.name, "objective": study.objective, "runs": runs, "published": study.published}
    write_whole(folder / "study.yaml", yaml.safe_dump(content, sort_keys=False, allow_unicode=True))
