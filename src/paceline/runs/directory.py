"""The run directory: the only interface between training and all that comes after."""

import re
import shutil
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from paceline.config.load import dump_recipe, load_recipe
from paceline.config.recipe import Recipe
from paceline.config.study import can_extend, recipe_differences
from paceline.errors import RunError
from paceline.runs.digests import content_digest
from paceline.runs.files import write_whole
from paceline.runs.manifest import changed_files, read_sealed, write_sealed

# What a kill may leave before the recipe is written.
_OURS = ("eval", "checkpoints", ".lock", "inputs.json", ".inputs.json.partial", ".recipe.yaml.partial")
# Whose digests are in the status of a run that does not train.
_RECORDED = ("recipe.yaml", "inputs.json", "events.jsonl", "trainer_state.json")


State = Literal["new", "running", "stopped", "finished", "failed"]


class RunStatus(BaseModel):
    """How far a run is. Counts and seconds are of training alone.

    `reason` says why a run failed, was stopped, or ended before its last step (`stopped_early`).
    """

    model_config = ConfigDict(frozen=True)

    state: State = "new"
    step: int = 0
    total_steps: int = 0
    tokens: int = 0
    supervised_tokens: int = 0
    seconds: float = 0.0
    best_step: int | None = None
    stopped_early: bool = False
    reason: str = ""

    @property
    def over(self) -> bool:
        """Whether nothing of the run is left to do."""
        return self.state in ("finished", "failed")

    @property
    def ending(self) -> str:
        """How a run ended that did not take all of its steps, and why; empty for every other one."""
        verb = {"failed": "failed", "stopped": "stopped", "finished": "stopped early"}.get(self.state, "")
        if not verb or (self.state == "finished" and not self.stopped_early):
            return ""
        total = f" of {self.total_steps:,}" if self.total_steps else ""
        where = f"{'after' if self.state == 'failed' else 'at'} step {self.step:,}{total}"
        if not self.step:
            where = "before its first step"
        return f"{verb} {where}: {self.reason or 'no reason is logged'}"


class RunDirectory:
    """Where a run's files are.

        recipe.yaml  inputs.json  events.jsonl  trainer_state.json  status.json
        checkpoints/step-N/  end/  best/  adapter/  eval/

    status.json says how far the run is: `state` is running, stopped, finished or failed, beside its final
    figures and the digests of the other files here. end/ is the checkpoint of a finished run's last step,
    from which a longer run could go on.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.recipe_file = path / "recipe.yaml"
        self.events = path / "events.jsonl"
        self.trainer_state = path / "trainer_state.json"
        self.checkpoints = path / "checkpoints"
        self.end = path / "end"
        self.best = path / "best"
        self.adapter = path / "adapter"
        self.eval = path / "eval"
        self.asked_folder = self.eval / "during"
        self._status = path / "status.json"

    @property
    def name(self) -> str:
        return self.path.name

    def asked(self, step: int) -> Path:
        """The answers to the questions that a step was asked."""
        return self.asked_folder / f"step-{step}.jsonl"

    def recipe(self) -> Recipe:
        """The recipe that this run was or is trained with."""
        if not self.recipe_file.is_file():
            raise RunError(f"{self.path}: not a run directory (no recipe.yaml)")
        return load_recipe(self.recipe_file)

    def status(self) -> RunStatus:
        """How far the run is; a directory without a status is a new run's.

        Raises:
            RunError: the status is damaged.
        """
        if not self._status.is_file():
            return RunStatus()
        try:
            return RunStatus.model_validate(read_sealed(self._status))
        except ValidationError as error:
            raise RunError(f"{self._status}: not a status that this version reads") from error

    def set_status(self, status: RunStatus) -> None:
        """Writes status.json in one step; of a run that is not under way, with digests of its other files."""
        content = status.model_dump(exclude_unset=True)
        if status.state != "running":
            present = [name for name in _RECORDED if (self.path / name).is_file()]
            content["files"] = {name: content_digest(self.path / name) for name in present}
        write_sealed(self._status, content)

    def forget_status(self) -> None:
        """Deletes a status that is damaged, or no longer true."""
        self._status.unlink(missing_ok=True)

    def damaged_files(self) -> list[str]:
        """Which files are not what they were when the run ended or stopped, in words.

        Raises:
            RunError: the status is damaged.
        """
        recorded = read_sealed(self._status).get("files", {}) if self._status.is_file() else {}
        return changed_files(self.path, recorded)

    def refuse_damaged(self) -> None:
        """Refuses to be read where its status, or what its results are read from, is damaged.

        Raises:
            RunError: with the files.
        """
        damage = [said for said in self.damaged_files() if self.trainer_state.name not in said]
        if self.adapter.is_dir() and not self._status.is_file():
            damage = [f"{self._status.name} is missing"]
        if damage:
            raise RunError(
                f"{self.path}: {', '.join(damage)}; run the command that trained it again, or take it "
                "from a copy"
            )

    def check(self, recipe: Recipe) -> None:
        """Refuses a directory that another recipe has begun, and one that holds something else.

        Raises:
            RunError: with the fields that differ.
        """
        if self.recipe_file.is_file():
            if differing := recipe_differences(self.recipe(), recipe):
                differences = ", ".join(
                    f"{key}: {old!r} there, {new!r} now" for key, (old, new) in differing.items()
                )
                extend = ", or let it go on with --extend" if all(map(can_extend, differing)) else ""
                raise RunError(
                    f"{self.path} belongs to another recipe ({differences}); "
                    f"choose another name or delete the directory{extend}"
                )
        elif self.path.exists() and (
            not self.path.is_dir() or any(p for p in self.path.iterdir() if p.name not in _OURS)
        ):
            raise RunError(f"{self.path} exists and is no run directory; choose another name or delete it")

    def claim(self, recipe: Recipe) -> None:
        """Makes the directory this recipe's."""
        for folder in (self.path, self.eval, self.checkpoints):
            folder.mkdir(parents=True, exist_ok=True)
        if not self.recipe_file.is_file():
            write_whole(self.recipe_file, dump_recipe(recipe))

    def replace_recipe(self, recipe: Recipe) -> None:
        """Gives a run that is extended its new recipe."""
        write_whole(self.recipe_file, dump_recipe(recipe))
        self.set_status(self.status())  # with the recipe's new digest

    def all_checkpoints(self) -> dict[int, Path]:
        """{step: its whole checkpoint}."""
        return {
            int(m[1]): p
            for p in self.checkpoints.glob("step-*")
            if (m := re.fullmatch(r"step-(\d+)", p.name))
        }

    def latest_checkpoint(self) -> Path | None:
        """The newest whole checkpoint."""
        found = self.all_checkpoints()
        return found[max(found)] if found else None

    def bytes_held(self) -> int:
        """Bytes of all that is in the directory."""
        return sum(file.stat().st_size for file in self.path.rglob("*") if file.is_file())

    def prune_checkpoints(self, keep: int) -> None:
        """Deletes all but the newest `keep` checkpoints."""
        found = sorted(self.checkpoints.glob("step-*"), key=lambda p: int(p.name.split("-")[1]))
        for path in found[:-keep]:
            shutil.rmtree(path)


def run_bytes(parameters: int, recipe: Recipe) -> int:
    """Bytes that a run has on disk at most.

    Two adapters (best and last), and checkpoints of weights and moments, one more than are kept.
    """
    return parameters * 4 * (2 + 3 * (1 + recipe.save_limit))


def check_room(folder: Path, needed: int) -> None:
    """Refuses, before anything is spent, a folder that cannot be written or a disk with too little room.

    Args:
        needed: bytes that the runs will have on disk at most.
    """
    probe = folder / ".writable"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe.write_bytes(b"x" * 4096)
        probe.unlink()
    except OSError as error:
        raise RunError(
            f"{folder}: cannot be written ({error.strerror}); choose another place with --runs"
        ) from error
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise RunError(
            f"{folder}: {free / 1e6:,.0f} MB free on this disk, {needed / 1e6:,.0f} MB needed for "
            "checkpoints and adapters; lower save_limit, or choose another place with --runs"
        )
