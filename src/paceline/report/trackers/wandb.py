"""Weights & Biases: its own login and variables (WANDB_…) apply; files in wandb/ beside the study's runs."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path

from paceline.errors import MissingExtra, RunError
from paceline.report.trackers.base import stable_id
from paceline.report.trackers.fetched import Point, points
from paceline.training.callbacks import RunView

# Of LevelDB's log: bytes of a block, and which part of a record a chunk is.
_BLOCK = 32768
_FULL, _LAST = 1, 4


class WandbTracker:
    """A run of a W&B project; it goes on under its id, which is kept in the run directory."""

    def __init__(self, run: RunView) -> None:
        import wandb

        self._run = wandb.init(
            project=run.recipe.track_project or run.study,
            name=run.name,
            id=stable_id(run.directory.path / "wandb-id"),
            resume="allow",
            config=run.recipe.model_dump(mode="json"),
            dir=str(run.directory.path.parent),
            reinit="create_new",  # runs that train together are open at once
            settings={"console": "off"},
        )
        # W&B's own step may only rise; a run that goes on from a checkpoint logs some steps again
        self._run.define_metric("step")
        self._run.define_metric("*", step_metric="step")

    def log(self, values: dict[str, float], step: int) -> None:
        self._run.log({**values, "step": step})

    def close(self) -> None:
        self._run.finish()


def fetch_wandb(folder: str) -> list[Point]:
    """The figures of the runs in a folder, at any depth, as W&B keeps them on this machine, synced or not.

    Raises:
        MissingExtra: W&B is not installed; its own types read what it wrote.
        RunError: no run there, or a file of something else.
    """
    try:
        from wandb.proto.wandb_internal_pb2 import Record
    except ImportError as error:
        raise MissingExtra("`--from wandb`", "wandb", "wandb") from error
    path = Path(folder)
    files = [path] if path.suffix == ".wandb" else sorted(path.rglob("*.wandb"))
    files = [file for file in files if not file.parent.is_symlink()]  # latest-run stands for another
    if not files:
        raise RunError(f"{folder}: no run of W&B there (run-….wandb)")
    found: list[Point] = []
    for file in files:
        name, entries = file.stem, []
        for content in _records(file):
            record = Record.FromString(content)
            if record.HasField("run"):
                name = record.run.display_name or name
            if record.HasField("history"):
                items = record.history.item
                entries.append(
                    {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
                )
        found += points(name, entries)
    return found


def _records(file: Path) -> Iterator[bytes]:
    """The records of a .wandb file: LevelDB's log format after a header of seven bytes.

    A record that a stop has cut off at the end is left out.
    """
    content = file.read_bytes()
    if not content.startswith(b":W&B"):
        raise RunError(f"{file}: not a file of W&B's")
    place, parts = 7, b""
    while place + 7 <= len(content):
        left = _BLOCK - place % _BLOCK
        if left < 7:  # too short for a header: the rest of a block is empty
            place += left
            continue
        length, kind = struct.unpack_from("<HB", content, place + 4)
        if not kind:
            break
        parts += content[place + 7 : place + 7 + length]
        place += 7 + length
        if kind in (_FULL, _LAST) and place <= len(content):
            yield parts
            parts = b""
