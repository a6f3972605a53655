"""`paceline bench` without a GPU: its contenders on a CPU, and what it makes of what they say."""

import json
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch
from trl import SFTTrainer  # type: ignore[attr-defined]

from paceline.bench import arms, checks, gpu
from paceline.errors import ConfigError

TINY = checks.SMALL | {
    "hidden_size": 32,
    "intermediate_size": 64,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "num_key_value_heads": 1,
    "head_dim": 16,
    "vocab_size": 256,
}


@pytest.fixture
def small_steps(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checks, "SHAPES", {"small": TINY})
    monkeypatch.setattr(arms, "LENGTH", 16)
    monkeypatch.setattr(arms, "TOKENS", 96)
    monkeypatch.setenv(arms.READY, str(tmp_path))
    monkeypatch.setenv(arms.COUNT, "1")


@pytest.mark.slow
@pytest.mark.usefixtures("small_steps")
@pytest.mark.filterwarnings("ignore::FutureWarning")
@pytest.mark.parametrize("arm", ["paceline", "paceline-cohort", "trl", "trl-packing", "trl-padding-free"])
def test_a_contender_trains_on_the_second_half_of_every_row(
    arm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    supervised: list[tuple[int, int]] = []
    compute: Any = SFTTrainer.compute_loss

    def watched(self: Any, model: Any, inputs: Mapping[str, Any], *args: Any, **options: Any) -> Any:
        supervised.append((int((inputs["labels"] != -100).sum()), inputs["labels"].numel()))
        return compute(self, model, inputs, *args, **options)

    monkeypatch.setattr(SFTTrainer, "compute_loss", watched)
    assert arms.ARMS[arm]("small", 0.2) > 0
    assert bool(supervised) == arm.startswith("trl")
    assert all((half, whole) == (48, 96) for half, whole in supervised)


@pytest.mark.usefixtures("small_steps")
@pytest.mark.filterwarnings("ignore:CUDA is not available")
def test_a_profile_says_where_a_tick_s_time_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "synchronize", lambda: None)
    assert arms.profile("small", 0) == {
        "launches": 0,
        "milliseconds": 0.0,
        "longest": [],
    }  # no GPU: no kernels


def test_where_memory_does_not_do_steps_are_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    tried = []

    def rate(rows: int) -> float:
        tried.append(rows)
        if rows > 10:
            raise torch.OutOfMemoryError("no room")
        return 5.0

    assert arms._in_memory(rate) == 5.0
    assert tried == [40, 20, 10]

    def never(rows: int) -> float:
        raise torch.OutOfMemoryError("no room")

    with pytest.raises(SystemExit, match="out of memory"):
        arms._in_memory(never)


def test_processes_at_once_are_timed_from_when_all_are_warm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(arms.READY, str(tmp_path))
    monkeypatch.setenv(arms.COUNT, "2")
    waited = []

    def sleep(seconds: float) -> None:
        waited.append(seconds)
        (tmp_path / "other.ready").touch()

    monkeypatch.setattr(time, "sleep", sleep)
    arms._meet()
    assert len(waited) == 1


@pytest.mark.slow
def test_an_arm_that_fails_says_why_and_ends_the_others() -> None:
    assert gpu._run("nothing", "small", 1.0, 2, time.monotonic() + 100) == "KeyError: 'nothing'"
    assert gpu._run("paceline", "4B", 1.0, 1, time.monotonic() + 1) == "no time left"
    assert gpu._run("paceline", "4B", 1.0, 1, time.monotonic() + 3) == "no time left"


CHECKED = {
    "gpu": "NVIDIA Test 80GB",
    "torch": "2",
    "capability": [9, 0],
    "correctness": {
        "a run again": {"figure": 0.001, "at most": 0.01, "ok": True},
        "a tick without a wait": {"figure": "called a synchronizing operation", "ok": False},
    },
}


def test_results_are_a_file_and_a_table(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[tuple[str, int]] = []

    def run(arm: str, shape: str, seconds: float, count: int, *rest: object) -> list[Any] | str:
        ran.append((arm, count))
        if arm == "check":
            return [CHECKED]
        if arm == "profile":
            return "out of memory"
        return "No module named 'unsloth'" if arm == "unsloth" else [1000.0] * count

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "_run", run)
    said: list[str] = []
    assert not gpu.run_benchmark(tmp_path, 8.0, said.append)  # a check does not hold
    found = json.loads((tmp_path / "gpu-nvidia-test-80gb.json").read_text())
    assert found["tokens_per_second"]["4B"]["five processes"] == 5000.0
    assert found["profile"] == "out of memory"
    table = (tmp_path / "gpu-nvidia-test-80gb.md").read_text()
    assert "| five processes | 5,000 | 5,000 | 5,000 |" in table
    assert "| Unsloth | No module named 'unsloth' |" in table
    assert "| a tick without a wait | DOES NOT HOLD | called a synchronizing operation |" in table
    assert "| a run again | holds | 0.001, at most 0.01 |" in table
    assert ("trl", 5) in ran


def test_a_gpu_whose_check_does_not_run_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(gpu, "_run", lambda *args: "CUDA error: no kernel image")
    with pytest.raises(ConfigError, match="check of this machine's GPU does not run: CUDA error: no kernel"):
        gpu.run_benchmark(tmp_path / "out", 8.0, print)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("daemon", "python", "shared"), [("exit 0", 0, True), ("exit 1", 0, False), ("exit 0", 1, False)]
)
def test_processes_share_a_gpu_by_mps_only_where_its_daemon_starts_and_computes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, daemon: str, python: int, shared: bool
) -> None:
    for name, body in (("nvidia-cuda-mps-control", daemon), ("python", f"exit {python}")):
        (tmp_path / name).write_text(f"#!/bin/sh\n{body}\n")
        (tmp_path / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr("sys.executable", str(tmp_path / "python"))
    with gpu.shared_gpu() as environment:
        assert bool(environment) == shared
        assert set(environment) <= {"CUDA_MPS_PIPE_DIRECTORY", "CUDA_MPS_LOG_DIRECTORY"}
