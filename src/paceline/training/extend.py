"""Going on with a run beyond the recipe that it was begun with: more steps, other logging."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from paceline.config.recipe import Recipe
from paceline.config.study import LENGTH, Study, can_extend, recipe_differences
from paceline.errors import RunError
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.events import EvalEvent, of_kind, read_events
from paceline.runs.inputs import Inputs, read_inputs, write_inputs
from paceline.runs.manifest import find_damage
from paceline.training.checkpoint import Progress
from paceline.training.order import StepPlan, make_step_plan
from paceline.training.prepare import Prepared
from paceline.training.schedule import learning_rate

# What stays in eval/: the bare base's losses, and answers, which know by which weights they are.
_KEPT = ("base.parquet", "base-train.parquet")


@dataclass(frozen=True)
class Extension:
    """A run that is to go on with another recipe.

    `state` is the folder of the checkpoint that it goes on from, after `step` steps; None: from the start.
    `lines` say what that means.
    """

    directory: RunDirectory
    before: Prepared
    state: Path | None
    step: int
    lines: list[str]

    def apply(self, recipe: Recipe, inputs: Inputs) -> None:
        """Makes the directory one of a stopped run with the new recipe.

        Killed at any instant, it is what it was or one that the same command extends.
        """
        directory = self.directory
        if self.state == directory.end:
            target = directory.checkpoints / f"step-{self.step}"
            shutil.rmtree(target, ignore_errors=True)
            directory.end.rename(target)
        shutil.rmtree(directory.end, ignore_errors=True)
        for step, path in directory.all_checkpoints().items():
            if step > self.step or self.state is None:
                shutil.rmtree(path)
        if stored := read_inputs(directory.path):
            write_inputs(directory.path, stored.model_copy(update={"schedule": inputs.schedule}))
        # as of a killed run: without digests, since the recipe is about to be another one
        directory.set_status(RunStatus(state="running", step=self.step))
        for path in directory.eval.iterdir():
            if path.is_file() and path.name not in _KEPT and not path.name.endswith("-answers.jsonl"):
                path.unlink()
        directory.replace_recipe(recipe)
        directory.set_status(RunStatus(state="stopped", step=self.step, reason="it is extended"))


def may_extend(study: Study, directory: RunDirectory, recipe: Recipe) -> bool:
    """Whether a run was begun with another recipe that differs only in what can change on the way.

    Raises:
        RunError: it differs in more, or another run of the study started from it.
    """
    if not directory.recipe_file.is_file():
        return False
    changed = recipe_differences(directory.recipe(), recipe)
    fixed = [field for field in changed if not can_extend(field)]
    if fixed:
        raise _refusal(
            directory,
            f"--extend changes how long a run trains and what is logged of it, not {', '.join(fixed)}",
            "train under another name",
        )
    if not changed:
        return False
    for run in study.runs:
        child = RunDirectory(directory.path.with_name(run.name))
        if run.recipe.init_from == directory.name and child.recipe_file.is_file():
            raise _refusal(
                directory,
                f"{run.name} started from its adapter, which would be another one",
                f"extend a study without it, or delete {child.path} to train it again",
            )
    return True


def only_evaluations(directory: RunDirectory, recipe: Recipe) -> bool:
    """Whether a run has finished and only what it is evaluated by afterwards has changed."""
    changed = recipe_differences(directory.recipe(), recipe)
    return directory.status().state == "finished" and all(field.startswith("eval.") for field in changed)


def plan_extension(directory: RunDirectory, prepared: Prepared) -> Extension:
    """How a run goes on with another recipe; `prepared` is what it is to be.

    Raises:
        RunError: where going on is not well defined, and why.
    """
    recipe, old = prepared.recipe, directory.recipe()
    plan, old_plan = prepared.plan, make_step_plan(old, len(prepared.split.train))
    before = replace(prepared, recipe=old, plan=old_plan)
    status, states = directory.status(), _states(directory)
    _refuse_over(directory, status, plan, old_plan)
    rates = learning_rate(old, old_plan), learning_rate(recipe, plan)
    step, state = max(states.items(), default=(0, None))
    if not _same_rates(*rates, step) and recipe.lr_scheduler == "warmup_stable_decay":
        # what this schedule is for: the longer run goes on from before the shorter one's decay
        alike = {at: path for at, path in states.items() if _same_rates(*rates, at)}
        step, state = max(alike.items(), default=(step, state))
    if step > plan.total_steps:
        raise _refusal(directory, f"it has taken {step:,} steps, and {plan.total_steps:,} are fewer")
    same = _same_rates(*rates, step)
    _refuse_unseen(directory, old, recipe, state, step, same)
    return Extension(directory, before, state, step, _said(directory, before, prepared, step, same))


def _states(directory: RunDirectory) -> dict[int, Path]:
    """{steps taken: the folder of the whole state after them}, the end of a finished run among them."""
    found = directory.all_checkpoints()
    status = directory.status()
    if status.state == "finished" and directory.end.is_dir():
        found[status.step] = directory.end
    return {step: path for step, path in found.items() if not find_damage(path)}


def _same_rates(one: Callable[[int], float], other: Callable[[int], float], steps: int) -> bool:
    return all(one(step) == other(step) for step in range(steps))


def _refuse_over(directory: RunDirectory, status: RunStatus, plan: StepPlan, old_plan: StepPlan) -> None:
    if status.state == "failed":
        raise _refusal(directory, f"it failed ({status.reason}), and would again")
    if status.stopped_early:
        raise _refusal(directory, f"it {status.ending}, as its recipe says")
    if status.state == "finished" and plan.total_steps <= old_plan.total_steps:
        raise _refusal(
            directory,
            f"it has taken all of its {old_plan.total_steps:,} steps, and none is left to train or to log",
            "give it more --epochs or --max-steps",
        )


def _refuse_unseen(
    directory: RunDirectory, old: Recipe, recipe: Recipe, state: Path | None, step: int, same: bool
) -> None:
    """Refuses where the adapter that is kept in the end would depend on what the shorter run looked at."""
    if state is None:
        return
    if old.eval_steps != recipe.eval_steps and (recipe.early_stop_patience or recipe.load_best):
        raise _refusal(
            directory,
            f"other eval_steps would choose another adapter (load_best, early_stop_patience), and the first "
            f"{step:,} steps cannot be evaluated any more",
        )
    if not recipe.load_best:
        return
    progress = Progress()
    progress.restore(state)
    for event in of_kind(read_events(directory.events), EvalEvent):
        after = event.step > step or (event.step == step and event.name == "final")
        better = progress.best_loss is None or event.loss < progress.best_loss
        again = same and recipe.eval_steps is not None and event.step % recipe.eval_steps == 0
        if after and better and not again:
            raise _refusal(
                directory,
                f"load_best: its best adapter is of step {event.step:,}, after the state of step {step:,} "
                "that it would go on from, and the longer run would not evaluate that",
            )


def _said(directory: RunDirectory, before: Prepared, after: Prepared, step: int, same: bool) -> list[str]:
    name, total, old_total = directory.name, after.plan.total_steps, before.plan.total_steps
    lines = [f"{name}: goes on from step {step:,} to {total:,} (it was to end at {old_total:,})"]
    if same and step:
        lines[0] += "; its rates so far are those of the longer run"
    elif step:
        old, new = (learning_rate(one.recipe, one.plan) for one in (before, after))
        lines[0] += (
            f"; {after.recipe.lr_scheduler} depends on the length: its first {step:,} steps had the rates of "
            f"{old_total:,} steps (the last {old(step - 1):.3g}), from here on those of {total:,} "
            f"({new(min(step, total - 1)):.3g}), so it is not what {total:,} steps from the start would be"
        )
    changed = recipe_differences(before.recipe, after.recipe)
    lines += [
        f"{name}: {field} is {now} from step {step:,} on (it was {was})"
        for field, (was, now) in changed.items()
        if field not in LENGTH and step
    ]
    return lines


def _refusal(directory: RunDirectory, why: str, instead: str = "train under another name") -> RunError:
    return RunError(f"{directory.path} cannot be extended: {why}; {instead}")
