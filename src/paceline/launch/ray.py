"""A study over the nodes of a Ray cluster, cut into cohorts.

Each cohort is a task that goes on from its run directories, wherever it is started again.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import fsspec

from paceline.api.callbacks import Callback
from paceline.config.fields import Fields
from paceline.config.load import load_study, make_recipe
from paceline.config.replicates import Seeds
from paceline.config.study import Run, Study
from paceline.errors import MissingExtra, ServiceError
from paceline.runs.directory import RunDirectory
from paceline.runs.study import write_study_record
from paceline.training.callbacks import CohortView
from paceline.training.estimate import device_memory, estimate_study
from paceline.training.prepare import group_by_base
from paceline.training.run_length import run_length

# How often a task is started again when its node dies.
RETRIES = 5
# Seconds between two copies to a storage that is no folder of the node.
EVERY = 60.0
# Ray's own label of a node: what its GPUs are called.
GPU_KIND = "ray.io/accelerator-type"


def launch(
    file: Path,
    storage: str,
    address: str | None,
    parts: int | None,
    log: Callable[[str], None],
    seeds: Seeds | None = None,
) -> dict[str, str]:
    """Trains a study's unfinished runs; returns their states by name.

    Args:
        storage: folder or fsspec URL that all nodes reach; the run directories are in STORAGE/STUDY.
        address: the cluster's; None starts one on this machine.
        parts: cohorts to cut the study into; None: one a GPU, or one a node where there is none.
        seeds: those of every run, in place of what the file says.

    Raises:
        ServiceError: Ray is missing, a cohort fits on no node, or a task has failed for good.
    """
    try:
        import ray
    except ImportError as error:
        raise MissingExtra("`--on ray`", "Ray", "ray") from error
    study = load_study(file, seeds=seeds)
    if not ray.is_initialized():
        ray.init(address=address, log_to_driver=True, include_dashboard=False, runtime_env={})
    gpus = int(ray.cluster_resources().get("GPU", 0))
    nodes = sum(node["Alive"] for node in ray.nodes())
    cohorts = split_study(study, parts or gpus or nodes)
    log(
        f"{len(study.runs)} runs as {len(cohorts)} cohorts over {nodes} nodes"
        + (f" with {gpus} GPUs" if gpus else "")
    )
    log("asking the planner what each of them needs")
    kinds = _gpu_kinds(ray) if gpus else {}
    largest = (
        max(kinds.values())
        if kinds
        else max(int(node["Resources"].get("memory", 0)) for node in ray.nodes() if node["Alive"])
    )
    planner = ray.remote(_plan).options(**_where(largest if kinds else 0, kinds))
    needs = ray.get([planner.remote(_as_fields(cohort)) for cohort in cohorts])
    _refuse_too_large(cohorts, needs, largest)
    place = storage if "://" in storage else str(Path(storage).resolve())
    task = ray.remote(max_retries=RETRIES, retry_exceptions=False)(_train)
    waiting = {
        task.options(**_where(need, kinds)).remote(_as_fields(cohort), place, study.name): cohort
        for cohort, need in zip(cohorts, needs, strict=True)
    }
    states, failures = _wait(ray, waiting, log)
    with _Local(place, study.name) as folder:
        write_study_record(study, folder.path)
    if failures:
        raise ServiceError(f"not trained: {'; '.join(failures)}; the same command goes on")
    return states


def _wait(
    ray: Any, waiting: dict[Any, Study], log: Callable[[str], None]
) -> tuple[dict[str, str], list[str]]:
    """(states by run, what failed and why) once every task has ended."""
    states: dict[str, str] = {}
    failures = []
    while waiting:
        (done,), _ = ray.wait(list(waiting), num_returns=1)
        cohort = waiting.pop(done)
        try:
            states |= ray.get(done)
            log(", ".join(f"{run.name}: {states[run.name]}" for run in cohort.runs))
        except ray.exceptions.RayError as error:
            failures.append(
                f"{', '.join(run.name for run in cohort.runs)} "
                f"({type(error).__name__}: {str(error).strip().splitlines()[-1]})"
            )
    return states, failures


def split_study(study: Study, parts: int) -> list[Study]:
    """Cohorts of about the same cost, at least one a base; a run stands with the one that it starts from."""
    cohorts = []
    groups = group_by_base(study.runs, lambda run: run.recipe)
    for runs in groups.values():
        families: dict[str, list[Run]] = {}
        family_of: dict[str, str] = {}
        for run in runs:
            family_of[run.name] = family_of.get(run.recipe.init_from or "", run.name)
            families.setdefault(family_of[run.name], []).append(run)
        shelves: list[list[Run]] = [[] for _ in range(max(1, parts // len(groups)))]
        costs = [0.0] * len(shelves)
        for family in sorted(families.values(), key=lambda members: -sum(map(_cost, members))):
            lightest = costs.index(min(costs))
            shelves[lightest] += family
            costs[lightest] += sum(map(_cost, family))
        order = [run.name for run in study.runs]
        cohorts += [
            study.model_copy(update={"runs": sorted(shelf, key=lambda run: order.index(run.name))})
            for shelf in shelves
            if shelf
        ]
    return cohorts


def _cost(run: Run) -> float:
    """Examples that a run trains on, as far as its recipe tells."""
    steps = run_length(run.recipe).steps
    return float((steps or 1) * run.recipe.effective_batch)


def _gpu_kinds(ray: Any) -> dict[str, int]:
    """Bytes of one GPU by kind, asked of a node of each; "" are GPUs whose node does not name them."""
    names = {
        node["Labels"].get(GPU_KIND, "")
        for node in ray.nodes()
        if node["Alive"] and node["Resources"].get("GPU")
    }
    asked = {name: ray.remote(device_memory).options(**_where(0, {name: 0})).remote() for name in names}
    return {name: ray.get(size) for name, size in asked.items()}


def _where(need: int, kinds: dict[str, int]) -> Fields:
    """Ray's options for a task that needs so many bytes.

    A GPU of a kind that has them, or that much of a node's memory where there is no GPU.
    """
    if not kinds:
        return {"num_cpus": 1, "memory": need, "scheduling_strategy": "SPREAD"}
    fitting = sorted(name for name, size in kinds.items() if size >= need)
    selector = {} if "" in fitting else {"label_selector": {GPU_KIND: f"in({', '.join(fitting)})"}}
    return {"num_cpus": 1, "num_gpus": 1, "scheduling_strategy": "SPREAD", **selector}


def _refuse_too_large(cohorts: list[Study], needs: list[int], largest: int) -> None:
    for cohort, need in zip(cohorts, needs, strict=True):
        if need > largest:
            names = ", ".join(run.name for run in cohort.runs)
            raise ServiceError(
                f"{names}: {need / 2**30:.1f} GiB needed together, the largest device has "
                f"{largest / 2**30:.1f}; more --parts, gradient_checkpointing or quantize: nf4"
            )


def _plan(runs: list[Fields]) -> int:
    """Bytes that a cohort needs, as `paceline plan` measures them, on the node that Ray chose."""
    (estimate,) = estimate_study(Study(name="cohort", runs=_made(runs)))
    return estimate.total


def _made(runs: list[Fields]) -> list[Run]:
    return [Run(**{**run, "recipe": make_recipe(run["recipe"], run["name"])}) for run in runs]


def _as_fields(study: Study) -> list[Fields]:
    return [run.model_dump(mode="json") for run in study.runs]


def _train(runs: list[Fields], storage: str, name: str) -> dict[str, str]:
    """One cohort, on the node that Ray chose.

    Its runs are not evaluated there: answers of several cohorts would go into the same files of the study.
    """
    from paceline.api.progress import ProgressBar
    from paceline.api.study import run_study

    made = _made(runs)
    with _Local(storage, name) as folder:
        folder.fetch([run.name for run in made])
        callbacks = [ProgressBar(), _Copier(folder)]
        result = run_study(Study(name=name, runs=made), folder.path, callbacks, evaluate=False)
        return {run.name: run.status.state for run in result}


class _Copier(Callback):
    """Copies the files now and then."""

    def __init__(self, folder: _Local) -> None:
        self._folder = folder

    def on_micro_step(self, cohort: CohortView) -> None:
        self._folder.now_and_then()


class _Local:
    """A study's folder as a local path.

    The folder itself, or a copy of what lies behind an fsspec URL, given back now and then and at the end.
    """

    def __init__(self, storage: str, study: str) -> None:
        self._url = (
            f"{storage.rstrip('/')}/{study}"
            if "://" in storage and not storage.startswith("file://")
            else None
        )
        self.path = Path(tempfile.mkdtemp()) if self._url else Path(storage.removeprefix("file://")) / study
        self._names: list[str] = []
        self._due = threading.Event()

    def __enter__(self) -> _Local:
        self.path.mkdir(parents=True, exist_ok=True)
        if self._url:
            self._timer()
        return self

    def __exit__(self, *_: object) -> None:
        if self._url:
            self._clock.cancel()
            self._give()
            shutil.rmtree(self.path)

    def fetch(self, names: list[str]) -> None:
        """Brings the named runs' directories, as far as they are there."""
        self._names = names
        if self._url:
            files, root = fsspec.url_to_fs(self._url)
            for name in names:
                if files.exists(f"{root}/{name}"):
                    files.get(f"{root}/{name}/", f"{self.path}/{name}/", recursive=True)

    def now_and_then(self) -> None:
        """Called between two steps, when the files are whole: copies them if it is time."""
        if self._due.is_set():
            self._due.clear()
            self._give()
            self._timer()

    def _timer(self) -> None:
        self._clock = threading.Timer(EVERY, self._due.set)
        self._clock.daemon = True
        self._clock.start()

    def _give(self) -> None:
        files, root = fsspec.url_to_fs(self._url)
        files.makedirs(root, exist_ok=True)
        for name in [name for name in self._names if (self.path / name).is_dir()] or ["study.yaml"]:
            source = self.path / name
            if source.is_dir():
                checkpoint = RunDirectory(source).latest_checkpoint()
                files.put(f"{source}/", f"{root}/{name}/", recursive=True)
                if checkpoint is not None:
                    _forget_older(files, f"{root}/{name}/checkpoints", checkpoint.name)
            elif source.is_file():
                files.put_file(str(source), f"{root}/{name}")


def _forget_older(files: Any, folder: str, newest: str) -> None:
    """Removes checkpoints from the storage that the run itself has removed."""
    for entry in files.ls(folder, detail=False):
        name = entry.rstrip("/").rsplit("/", 1)[-1]
        if name.startswith("step-") and int(name[5:]) < int(newest[5:]):
            files.rm(entry, recursive=True)
