"""Starting a cohort's runs: what each begins from, and the bare base's losses."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from paceline.config.study import Run, Study
from paceline.data.digest import rows_digest
from paceline.errors import RunError, TrainingError
from paceline.model.base import Base
from paceline.model.initialization import takes_from_base
from paceline.model.peft_config import as_stored, read_peft_config
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses
from paceline.training.curriculum import order_key
from paceline.training.heldout import held_out_losses
from paceline.training.prepare import Prepared
from paceline.training.run import TrainingRun

# What must be the same in a run and in what it starts from; other targets show in the weights' names.
_OF_A_RUN = (
    "base",
    "new_tokens",
    "quantize",
    "target_modules",
    "exclude_modules",
    "layers_to_transform",
    "layers_pattern",
)
_OF_AN_ADAPTER = (
    "lora_r",
    "lora_alpha",
    "use_rslora",
    "use_dora",
    "rank_pattern",
    "alpha_pattern",
    "trainable_token_indices",
    "modules_to_save",
)


def find_parent(run: Run, study: Study, folder: Path) -> Path | None:
    """The run directory or adapter folder that a run starts from; None: a new adapter.

    Raises:
        TrainingError: nothing there, or a run whose adapter does not fit.
    """
    name = run.recipe.init_from
    if name is None:
        return None
    parent = next((other.recipe for other in study.runs if other.name == name), None)
    if parent is None:
        path = Path(name)
        adapter = path / "adapter" if (path / "adapter").is_dir() else path
        if not (adapter / "adapter_model.safetensors").is_file():
            raise TrainingError(
                f"run {run.name}: init_from {name!r} is neither a run of this study "
                "nor a folder with an adapter"
            )
        if run.recipe.new_tokens:
            raise TrainingError(
                f"run {run.name}: with new_tokens a run starts from a run of its study that adds the same "
                f"tokens, not from a folder ({name})"
            )
        _check_parent(run, name, read_peft_config(adapter), _OF_AN_ADAPTER)
        return adapter
    _check_parent(run, name, parent.model_dump() | as_stored(parent), (*_OF_A_RUN, *_OF_AN_ADAPTER))
    return folder / name


def _check_parent(run: Run, name: str, parent: Mapping[str, Any], fields: Sequence[str]) -> None:
    """Refuses an adapter that the run would compute in another way than it was trained in."""
    if takes_from_base(run.recipe.init_lora_weights):
        raise TrainingError(
            f"run {run.name}: init_lora_weights {run.recipe.init_lora_weights} and init_from are two starts; "
            "give one of them"
        )
    for field in fields:
        own, theirs = getattr(run.recipe, field), parent[field]
        if own != theirs:
            raise TrainingError(
                f"run {run.name}: cannot start from {name}: {field} is {own!r} here and {theirs!r} there"
            )


# Some examples of a run's data, by their indices (examples,).
_Examples = tuple[Prepared, NDArray[np.int64]]


class RunStarter:
    """Starts a run of a cohort as soon as what it starts from is ready."""

    def __init__(self, base: Base, parents: Mapping[str, Path | None], log: Callable[[str], None]) -> None:
        self._base, self._parents, self._log = base, parents, log
        self._measured: list[tuple[Prepared, str, NDArray[np.int64], ExampleLosses]] = []

    def __call__(self, run: TrainingRun) -> None:
        parent = self._parents[run.name]
        if parent is not None and (parent / "recipe.yaml").is_file():
            state = RunDirectory(parent).status().state
            if state == "failed":
                run.fail(f"the run that it starts from, {parent.name}, failed")
            if state != "finished":
                return
            parent = parent / "adapter"
        held_out = self._base_losses(run, "base", run.prepared.split.eval)
        key = order_key(run.prepared, lambda: self._base_losses(run, "base-train", run.prepared.split.train))
        run.start(held_out, key, parent)

    def _base_losses(self, run: TrainingRun, name: str, examples: NDArray[np.int64]) -> ExampleLosses:
        """The bare base's on a run's examples: from disk, from a run with the same ones, or measured now."""
        stored = run.directory.eval / f"{name}.parquet"
        if stored.is_file():
            try:
                return ExampleLosses.read(stored)
            except RunError as error:  # measured again
                self._log(str(error).split(";")[0])
        prepared = run.prepared
        for other, what, others, losses in self._measured:
            if what == name and _same_examples((other, others), (prepared, examples)):
                losses.save(stored)
                return losses
        kind = "held-out" if name == "base" else "training"
        self._log(f"measuring the base on {len(examples):,} {kind} examples")
        losses = held_out_losses(self._base, None, prepared.dataset, examples, prepared.recipe.max_length)
        self._measured.append((prepared, name, examples, losses))
        losses.save(stored)
        return losses


def _same_examples(one: _Examples, other: _Examples) -> bool:
    """Whether both are the same examples in the same order, cut and supervised alike."""
    (first, mine), (second, theirs) = one, other
    if first.recipe.max_length != second.recipe.max_length or len(mine) != len(theirs):
        return False
    if first.dataset is second.dataset:
        return np.array_equal(mine, theirs)
    # one of them has other training examples, or other marks of what is supervised
    return rows_digest(first.dataset, mine) == rows_digest(second.dataset, theirs)
