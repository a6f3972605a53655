"""Two processes that train one run: the adapter of one process, the base whole or spread."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

TRAIN = [
    "train",
    "--base",
    "embedded",
    "--data",
    "embedded:rust",
    "-n",
    "120",
    "--max-length",
    "512",
    "--batch-size",
    "8",
    "--grad-accum",
    "3",
    "--max-steps",
    "5",
    "--lr",
    "2e-4",
    "--lora-dropout",
    "0.1",
    "--logging-steps",
    "1",
    "--eval-steps",
    "2",
    "--save-steps",
    "2",
    "--no-check",
]


def train(folder: Any, *launcher: Any, extra: Any = ()) -> Any:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *launcher, "-m", "paceline", *TRAIN, "--runs", str(folder), *extra]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("alone")
    done = train(folder)
    assert done.returncode == 0, done.stderr
    return folder / "run"


TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "--no-python")


@pytest.mark.parametrize("extra", [(), ("--shard-base",)], ids=["whole", "spread"])
def test_two_processes_train_what_one_does(alone: Any, tmp_path: Path, extra: Any) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [
        sys.executable,
        *TORCHRUN,
        sys.executable,
        "-m",
        "paceline",
        *TRAIN,
        "--runs",
        str(tmp_path),
        *extra,
    ]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=500)
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


def test_what_does_not_go_together_is_refused(tmp_path: Path) -> None:
    command = [
        sys.executable,
        *TORCHRUN,
        sys.executable,
        "-m",
        "paceline",
        *TRAIN,
        "--runs",
        str(tmp_path),
        "--shard-base",
        "--kl-coef",
        "0.1",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=500)
    assert done.returncode != 0
    assert "--shard-base goes with neither a KL anchor" in done.stderr
    assert not (tmp_path / "run").exists()
