"""Nothing is lost: killed at any instant, the same command ends with the same bits and a whole log."""

import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import MakeBase, adapter_bytes
from paceline.runs.directory import RunDirectory
from paceline.runs.events import read_events
from warm_process import WarmProcess

pytestmark = pytest.mark.slow

# Findings about speed depend on what else the machine does.
OF_TIME = ("slower-and-slower",)
TIMES = ("seconds",)


@pytest.fixture(scope="module")
def study_file(tiny_base: MakeBase, sums: str, tmp_path_factory: pytest.TempPathFactory) -> Any:
    content = {
        "study": "killed",
        "recipe": {
            "base": tiny_base("qwen3"),
            "data": sums,
            "max_length": 256,
            "lr": 1e-3,
            "save_steps": 2,
            "logging_steps": 3,
            "eval_steps": 5,
            "load_best": True,
        },
        "runs": [
            {"name": "a", "epochs": 3},
            {"name": "b", "batch_size": 2, "grad_accum": 2, "lora_r": 8, "lora_dropout": 0.1},
        ],
    }
    path = tmp_path_factory.mktemp("kill") / "killed.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@pytest.fixture(scope="module")
def whole(study_file: Any) -> Any:
    """The study that nobody stopped."""
    finish(study_file, study_file.parent / "whole")
    return study_file.parent / "whole" / "killed"


def start(study_file: Path, runs: Path) -> WarmProcess:
    return WarmProcess("study", "run", study_file, "--runs", runs, cwd=study_file.parent)


def finish(study_file: Any, runs: Any) -> None:
    process = start(study_file, runs)
    _, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors


def log(folder: Any) -> Any:
    events = [event.model_dump(exclude=set(TIMES)) for event in read_events(folder / "events.jsonl")]
    return [event for event in events if event.get("rule") not in OF_TIME]


def assert_same(left: Any, right: Any) -> None:
    for name in ("a", "b"):
        assert adapter_bytes(left / name) == adapter_bytes(right / name)
        assert log(left / name) == log(right / name)
        assert (left / name / "eval" / "final.parquet").read_bytes() == (
            right / name / "eval" / "final.parquet"
        ).read_bytes()


def wait_for_training(runs: Any, process: Any) -> None:
    while process.poll() is None and not (runs / "killed" / "b" / "events.jsonl").exists():
        time.sleep(0.02)


def test_killed_at_five_random_moments(study_file: Any, whole: Any, tmp_path: Path) -> None:
    rng = random.Random(3)
    kills = 0
    while kills < 5:
        process = start(study_file, tmp_path / "killed")
        if rng.random() < 0.8:
            wait_for_training(tmp_path / "killed", process)
        time.sleep(rng.uniform(0.0, 1.0))
        if process.poll() is None:
            process.kill()
            kills += 1
        process.communicate()
        if all(RunDirectory(tmp_path / "killed" / "killed" / n).status().state == "finished" for n in "ab"):
            break
    finish(study_file, tmp_path / "killed")
    assert kills >= 3, "the study ended before it could be killed a few times"
    assert_same(whole, tmp_path / "killed" / "killed")


def test_interrupted_saves_says_how_to_go_on_and_goes_on(study_file: Any, whole: Any, tmp_path: Path) -> None:
    process = start(study_file, tmp_path / "stopped")
    wait_for_training(tmp_path / "stopped", process)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130, errors
    assert "the same command goes on" in errors
    assert "Traceback" not in errors
    assert RunDirectory(tmp_path / "stopped" / "killed" / "b").status().state == "stopped"
    finish(study_file, tmp_path / "stopped")
    assert_same(whole, tmp_path / "stopped" / "killed")


def test_a_torn_line_and_a_torn_checkpoint_are_not_read(study_file: Any, whole: Any, tmp_path: Path) -> None:
    """What a power cut can leave: half a line in the log, and a checkpoint folder that never got its name."""
    process = start(study_file, tmp_path / "torn")
    while process.poll() is None and not list((tmp_path / "torn").glob("killed/a/checkpoints/step-*")):
        time.sleep(0.02)
    process.kill()
    process.communicate()
    run = tmp_path / "torn" / "killed" / "a"
    with (run / "events.jsonl").open("a") as file:
        file.write('{"event": "train", "step": 99')
    partial = run / "checkpoints" / ".step-40.partial"
    partial.mkdir()
    (partial / "progress.json").write_text("{")
    finish(study_file, tmp_path / "torn")
    assert_same(whole, tmp_path / "torn" / "killed")
