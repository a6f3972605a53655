"""Damaged is not lost: what the same command still finds whole of a run, and goes on from."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from paceline.config.load import dump_recipe
from paceline.config.recipe import Recipe
from paceline.errors import ConfigError, RunError
from paceline.runs.directory import RunDirectory, State
from paceline.runs.events import read_events, start_of
from paceline.runs.files import write_whole
from paceline.runs.inputs import read_inputs, stored_format, write_inputs
from paceline.runs.losses import ExampleLosses
from paceline.runs.manifest import find_damage
from paceline.runs.trainer_state import write_trainer_state
from paceline.training.checkpoint import FORMAT, Progress

Say = Callable[[str], None]


def mend(directory: RunDirectory, recipe: Recipe, say: Say) -> None:
    """Rebuilds or puts aside what is damaged in a run's directory, so that the run can go on; says all of it.

    A damaged checkpoint gets another name, and the one before it is the newest. A finished run whose results
    are damaged trains again from its newest whole checkpoint, to the same bits.

    Args:
        recipe: what the run is asked to be.

    Raises:
        RunError: the recipe itself is damaged and no checkpoint says that it is this one.
    """
    if not directory.path.is_dir():
        return
    _mend_status(directory, say)
    _mend_recipe(directory, recipe, say)
    if not directory.recipe_file.is_file():
        return
    state, damage = directory.status().state, ""
    if directory.status().over:
        _mend_trainer_state(directory, say)
        if not (damage := _damage_of_over(directory, state)):
            return
        directory.forget_status()
    _put_aside_damaged(directory, recipe, say)
    _mend_inputs(directory, say)
    if damage:
        newest = directory.latest_checkpoint()
        begins = f"from {newest.name}" if newest else "from its start"
        say(f"{directory.name} had {state}, but {damage}; trains again {begins}")


def _damage_of_over(directory: RunDirectory, state: State) -> str:
    """What of a run's log, and of a finished one's adapter and losses, is missing or damaged, in words."""
    damage = directory.damaged_files()
    if state == "failed":
        return ", ".join(damage)
    if found := find_damage(directory.adapter):
        damage.append(f"adapter: {found}")
    for name in ("base", "final"):
        try:
            ExampleLosses.read(directory.eval / f"{name}.parquet")
        except RunError:
            damage.append(f"eval/{name}.parquet is missing or damaged")
    return ", ".join(damage)


def _mend_status(directory: RunDirectory, say: Say) -> None:
    try:
        directory.status()
        directory.damaged_files()
    except RunError:
        say(f"{directory.name}: status.json is damaged; goes on from what else the run holds")
        directory.forget_status()


def _mend_recipe(directory: RunDirectory, recipe: Recipe, say: Say) -> None:
    """Writes a damaged recipe.yaml anew where a whole checkpoint has the recipe that is asked for."""
    file, text = directory.recipe_file, dump_recipe(recipe)
    stored = file.read_bytes() if file.is_file() else b""
    if stored == text.encode() or not _is_damaged(directory, stored):
        return
    newest = _newest_whole(directory)
    if newest is not None and (newest / "recipe.yaml").read_text() == text:
        say(f"{directory.name}: recipe.yaml is missing or damaged; {newest.name} has the same one")
        write_whole(file, text)
    elif any(file.name in said for said in directory.damaged_files()):
        raise RunError(f"{file} is damaged; put the recipe back from a copy, or delete the directory")


def _is_damaged(directory: RunDirectory, stored: bytes) -> bool:
    """Whether a recipe.yaml is not as a run ended with it, cannot be read, or is not what is ever written."""
    if any(directory.recipe_file.name in said for said in directory.damaged_files()):
        return True
    try:
        return dump_recipe(directory.recipe()).encode() != stored
    except (RunError, ConfigError):
        return True


def _mend_trainer_state(directory: RunDirectory, say: Say) -> None:
    """It only repeats the log for other tools."""
    damage = directory.damaged_files()
    if len(damage) == 1 and damage[0].startswith(directory.trainer_state.name):
        status, events, recipe = directory.status(), read_events(directory.events), directory.recipe()
        if (start := start_of(events)) is not None:
            say(f"{directory.name}: {damage[0]}; written again from the log")
            write_trainer_state(events, directory.trainer_state, start.total_steps, recipe.epochs)
            directory.set_status(status)


def _mend_inputs(directory: RunDirectory, say: Say) -> None:
    """Takes inputs that are gone or damaged from the newest checkpoint; without one the run begins anew."""
    try:
        if _of_another_format(directory.path) or read_inputs(directory.path) is not None:
            return
    except RunError:
        (directory.path / "inputs.json").unlink()
    newest = directory.latest_checkpoint()
    if newest is not None and (inputs := read_inputs(newest)) is not None:
        say(f"{directory.name}: inputs.json was missing or damaged, and is again what {newest.name} holds")
        write_inputs(directory.path, inputs)


def _put_aside_damaged(directory: RunDirectory, recipe: Recipe, say: Say) -> None:
    """Gives checkpoints that are not whole another name, from the newest to the first whole one."""
    while (newest := directory.latest_checkpoint()) is not None and not _of_another_format(newest):
        damage = find_damage(newest) or _lost_best(directory, newest, recipe)
        if not damage:
            return
        aside = newest.with_name(f"damaged-{newest.name}")
        number = 1
        while aside.exists():
            number += 1
            aside = newest.with_name(f"damaged-{newest.name}-{number}")
        newest.rename(aside)
        before = directory.latest_checkpoint()
        begins = f"goes on from {before.name}" if before else "begins from its start"
        say(f"{directory.name}: checkpoint {newest.name} is put aside ({damage}); {begins}")


def _newest_whole(directory: RunDirectory) -> Path | None:
    found = directory.all_checkpoints()
    return next((found[step] for step in sorted(found, reverse=True) if not find_damage(found[step])), None)


def _lost_best(directory: RunDirectory, checkpoint: Path, recipe: Recipe) -> str:
    """Whether the best adapter so far, which is beside a checkpoint, is damaged."""
    progress = Progress()
    progress.restore(checkpoint)
    damage = find_damage(directory.best) if recipe.load_best and progress.best_step else ""
    return f"the best adapter so far, in best/: {damage}" if damage else ""


def _of_another_format(folder: Path) -> bool:
    """Whether another version wrote a run or a checkpoint, which is refused with that, and not mended."""
    return stored_format(folder) not in (None, FORMAT)
