"""A run on the hub: adapter or merged model, with its card and recipe. Private by default."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from paceline.data.templates import TEMPLATE, kept_template, read_template
from paceline.errors import RunError
from paceline.export.hub import Log, check_name, silent, upload
from paceline.export.replicate import MEDIAN, choose_replicate
from paceline.export.tokenizer import copy_tokenizer
from paceline.report.card import model_card
from paceline.runs.directory import RunDirectory
from paceline.runs.manifest import refuse_damaged


@dataclass(frozen=True, kw_only=True)
class PushResult:
    """What a push has sent, or would send: files by name, relative to the repository."""

    repository: str
    files: list[str]
    uploaded: bool


def push(
    run: Path,
    name: str,
    merged: bool = False,
    public: bool = False,
    dry_run: bool = False,
    log: Log = silent,
    replicate: str = MEDIAN,
    noise: Path | None = None,
) -> PushResult:
    """Uploads a run into the repository NAME; files that the hub has already are not sent again.

    Args:
        run: a run directory; where a recipe's first replicate is named, `replicate` says which one is meant.
        merged: the merged model instead of the adapter.
        dry_run: only gather the files. For an adapter this loads neither torch nor transformers.
        replicate: `median` (by held-out loss), or a seed.
        noise: an earlier study whose replicates say, in the card, how much a loss moves with the seed.

    Raises:
        ConfigError: the name is not one that the hub accepts.
        RunError: the run has not finished; no replicate with this seed; `noise` of another base or data.
        ModelError: the base has no tokenizer, or cannot be merged.
        ServiceError: no token, or the hub refuses; the run itself is untouched and the same command goes on.
    """
    check_name(name)
    run = choose_replicate(run, replicate, log)
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        files = stage(run, name, folder, merged, log, noise)
        if not dry_run:
            upload(folder, name, f"run {run.resolve().name}", public, log)
    return PushResult(repository=name, files=files, uploaded=not dry_run)


def stage(
    run: Path,
    name: str,
    folder: Path,
    merged: bool = False,
    log: Log = silent,
    noise: Path | None = None,
) -> list[str]:
    """Puts what would be uploaded as NAME into a folder and returns the files' names."""
    directory = RunDirectory(run)
    state = directory.status().state
    if state != "finished":
        raise RunError(f"{run}: {state}, not finished; only finished runs are pushed")
    if merged:
        _stage_merged(run, folder)
    else:
        refuse_damaged(directory.adapter)
        recipe = directory.recipe()
        copy_tokenizer(recipe.base, folder, log)
        # beside it lies the run's own tokenizer, if the run added tokens
        shutil.copytree(directory.adapter, folder, dirs_exist_ok=True)
        if template := kept_template(directory.adapter, recipe.data.chat_template):
            (folder / TEMPLATE).write_text(read_template(template))
    shutil.copy2(directory.recipe_file, folder / "recipe.yaml")
    (folder / "README.md").write_text(model_card(run, name, merged, noise))
    return sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())


def _stage_merged(run: Path, folder: Path) -> None:
    from paceline.export.merge import merge

    merge(run, folder / "model")
    shutil.copytree(folder / "model", folder, dirs_exist_ok=True)
    shutil.rmtree(folder / "model")
