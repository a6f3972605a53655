"""Several processes that train one run: the adapter of one process, the base whole or spread."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from paceline.training.distributed import (
    SINGLE_PROCESS,
    DistributedContext,
    init_distributed,
    rank_local_folder,
)

TRAIN = (
    "train --base embedded --data embedded:rust -n 120 --max-length 512 --batch-size 8 --grad-accum 3 "
    "--max-steps 5 --lr 2e-4 --lora-dropout 0.1 --logging-steps 1 --eval-steps 2 --save-steps 2 --no-check"
)
TORCHRUN = "-m torch.distributed.run --standalone --nproc-per-node 2 --no-python"


def test_a_single_process_waits_for_nobody_and_sums_nothing() -> None:
    tensor = torch.arange(3.0)
    SINGLE_PROCESS.all_reduce(tensor)
    SINGLE_PROCESS.wait()
    assert tensor.tolist() == [0.0, 1.0, 2.0]
    assert [SINGLE_PROCESS.any(flag) for flag in (True, False)] == [True, False]
    assert DistributedContext(rank=0, size=1, sharded=False) == SINGLE_PROCESS


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with init_distributed() as distributed:
        assert distributed is SINGLE_PROCESS
    assert not torch.distributed.is_initialized()


def test_the_first_process_writes_into_the_studys_folder(tmp_path: Path) -> None:
    with rank_local_folder(SINGLE_PROCESS, tmp_path) as folder:
        assert folder == tmp_path


def test_another_process_writes_into_a_copy_that_is_thrown_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(DistributedContext, "wait", lambda self: None)
    (tmp_path / "study").mkdir()
    (tmp_path / "study" / "a.txt").write_text("old")
    with rank_local_folder(DistributedContext(rank=1, size=2), tmp_path / "study") as folder:
        assert folder != tmp_path / "study"
        assert folder.name == "study"
        assert (folder / "a.txt").read_text() == "old"
        (folder / "a.txt").write_text("new")
    assert not folder.exists()
    assert (tmp_path / "study" / "a.txt").read_text() == "old"
    with rank_local_folder(DistributedContext(rank=1, size=2), tmp_path / "later") as folder:
        assert not folder.exists()


def train(folder: Path, *extra: str, launcher: str = "") -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    own = [sys.executable, "-m", "paceline", *TRAIN.split(), "--runs", str(folder), *extra]
    command = [sys.executable, *launcher.split(), *own] if launcher else own
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)


def train_in_two(folder: Path, *extra: str) -> subprocess.CompletedProcess[str]:
    return train(folder, *extra, launcher=TORCHRUN)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("alone")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


@pytest.mark.slow
@pytest.mark.parametrize("extra", [(), ("--shard-base",)], ids=["whole", "spread"])
def test_two_processes_train_what_one_does(alone: Path, tmp_path: Path, extra: tuple[str, ...]) -> None:
    done = train_in_two(tmp_path, *extra)
    assert done.returncode == 0, done.stderr[-4000:]
    mine, theirs = (
        load_file(folder / "adapter" / "adapter_model.safetensors") for folder in (tmp_path / "run", alone)
    )
    assert max(float((mine[name] - theirs[name]).abs().max()) for name in theirs) <= 1e-6
    logs = [
        [json.loads(line) for line in (folder / "events.jsonl").read_text().splitlines()]
        for folder in (tmp_path / "run", alone)
    ]
    assert [(e["event"], e.get("step"), e.get("tokens")) for e in logs[0]] == [
        (e["event"], e.get("step"), e.get("tokens")) for e in logs[1]
    ]
    assert all(abs(a["loss"] - b["loss"]) < 1e-5 for a, b in zip(*logs, strict=True) if a["event"] == "train")
    assert done.stdout.count("run ") >= 1


@pytest.mark.slow
def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    done = train_in_two(tmp_path, "--shard-base", "--kl-coef", "0.1")
    assert done.returncode != 0
    assert "--shard-base goes with neither a KL anchor" in done.stderr
    assert not (tmp_path / "run").exists()


# A process of two has no room for two micro-batches at once, and one more has none for held-out examples.
OUT_OF_MEMORY = """
import os, sys, torch, paceline
from paceline.model.base import Base

plain, where = Base.hidden, sys.argv[2]

def limited(self, batch):
    training = torch.is_grad_enabled()
    second = os.environ.get("RANK") == "1"
    if second and training == (where == "training") and batch.input_ids.shape[1] > MOST:
        raise torch.OutOfMemoryError("no room")
    return plain(self, batch)

MOST = 2048 if where == "training" else 200
Base.hidden = limited
recipe = {
    "base": "embedded", "data": {"source": "embedded:rust", "n": 60}, "max_length": 512, "batch_size": 8,
    "grad_accum": 3, "max_steps": 3, "lora_dropout": 0.1, "logging_steps": 1,
}
try:
    recipe, options = paceline.Recipe(**recipe), {"token_budget": 20_000, "shard_base": where == "sharded"}
    paceline.train(recipe, sys.argv[1], check=False, **options)
except paceline.PacelineError as error:
    sys.exit(f"refused: {error}")
"""


def out_of_memory_in_two(
    folder: Path, where: str, launcher: str = TORCHRUN
) -> subprocess.CompletedProcess[str]:
    script = folder / "train.py"
    script.write_text(OUT_OF_MEMORY)
    command = [sys.executable, str(script), str(folder / where), where]
    command = [sys.executable, *launcher.split(), *command] if launcher else command
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=300)


@pytest.mark.slow
def test_a_process_that_begins_a_step_again_stays_in_step_with_the_other(tmp_path: Path) -> None:
    for name, launcher in (("two", TORCHRUN), ("one", "")):
        (tmp_path / name).mkdir()
        done = out_of_memory_in_two(tmp_path / name, "training", launcher)
        assert done.returncode == 0, done.stderr[-3000:]
    one, two = (
        load_file(next((tmp_path / name / "training").rglob("adapter/adapter_model.safetensors")))
        for name in ("one", "two")
    )
    assert max(float((two[name] - one[name]).abs().max()) for name in one) <= 1e-6


@pytest.mark.slow
def test_a_process_of_a_sharded_base_that_runs_out_of_memory_ends_the_training(tmp_path: Path) -> None:
    done = out_of_memory_in_two(tmp_path, "sharded")
    assert done.returncode != 0
    assert "refused: out of memory in this process, and with --shard-base no process can go on" in done.stderr
