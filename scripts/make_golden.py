"""Writes tests/golden: bits of small trainings, and runs stopped half-way, for later releases to meet.

OMP_NUM_THREADS=1 python scripts/make_golden.py
"""

import hashlib
import json
import shutil
import tempfile
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from paceline.config.load import load_study
from paceline.runs.directory import RunDirectory
from paceline.runs.events import EvalEvent, TrainEvent, of_kind, read_events
from paceline.training.callbacks import Callback, CohortView
from paceline.training.study import TrainingOptions, train_study
from paceline.version import __version__

GOLDEN = Path(__file__).parents[1] / "tests" / "golden"
PACKAGES = ("torch", "transformers", "numpy", "tokenizers", "bitsandbytes")
HALF_WAY = 2


class _HalfWay(Callback):
    """Stops a cohort once all of its runs have taken half of their steps."""

    def __init__(self) -> None:
        self._reached = False

    def on_micro_step(self, cohort: CohortView) -> None:
        self._reached = all(run.step >= HALF_WAY for run in cohort.runs)

    def wants_stop(self) -> bool:
        return self._reached


def machine() -> dict[str, Any]:
    """What the bits depend on beside the recipes: versions, and the kind of CPU with what it computes in."""
    abilities = torch.cpu.get_capabilities()
    return {
        **{name: version(name) for name in PACKAGES},
        "cpu": f"{abilities['cpu_name']}, {abilities['architecture']}",
        "kernels": torch.backends.cpu.get_cpu_capability(),
        "features": sorted(name for name, has in abilities.items() if has is True),
    }


def figures(folder: Path) -> dict[str, dict[str, Any]]:
    """{run: its weights' digest, training losses by step, held-out losses by step} of a trained study."""
    return {run.name: _of_run(folder / run.name) for run in load_study(GOLDEN / "study.yaml").runs}


def _of_run(folder: Path) -> dict[str, Any]:
    digest = hashlib.sha256()
    for name, tensor in sorted(load_file(folder / "adapter" / "adapter_model.safetensors").items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.numpy().tobytes())
    events = read_events(folder / "events.jsonl")
    return {
        "sha256": digest.hexdigest(),
        "loss": [event.loss for event in of_kind(events, TrainEvent)],
        "eval_loss": [event.loss for event in of_kind(events, EvalEvent)],
    }


def stopped_runs() -> list[str]:
    """The runs that are kept as they stood half-way: those of the first cohort, in the study's order."""
    names = [run.name for run in load_study(GOLDEN / "study.yaml").runs]
    states = {name: RunDirectory(GOLDEN / "stopped" / name).status().state for name in names}
    return [name for name in names if states[name] == "stopped"]


def train(folder: Path, *callbacks: Callback) -> None:
    """Trains the golden study in a folder, on one thread as the tests do: sums depend on their order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        train_study(load_study(GOLDEN / "study.yaml"), folder, TrainingOptions(callbacks=callbacks))
    finally:
        torch.set_num_threads(threads)


def main() -> None:
    """Writes the figures of the whole study, and keeps its first cohort as it stands half-way."""
    with tempfile.TemporaryDirectory() as scratch:
        train(Path(scratch))
        runs = figures(Path(scratch))
    content = {"paceline": __version__, "machine": machine(), "runs": runs}
    (GOLDEN / "golden.json").write_text(json.dumps(content, indent=1) + "\n")
    stopped = GOLDEN / "stopped"
    shutil.rmtree(stopped, ignore_errors=True)
    train(stopped, _HalfWay())
    print(f"{len(runs)} trainings in golden.json; stopped half-way: {', '.join(stopped_runs())}")


if __name__ == "__main__":
    main()
