"""The check as users meet it: its exit codes, `--fix`, and training that does not begin on an error."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from checked_recipe import COMMON, RUST

from paceline.doctor import check as check_module
from paceline.training.estimate import CohortEstimate


def test_too_little_memory(findings_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    estimate = CohortEstimate(base="b", runs=[], memory={"base": 2**34}, available=2**33)
    monkeypatch.setattr(check_module, "estimate_cohort", lambda *_: estimate)
    finding = findings_on()["memory-too-small"]
    assert (finding.severity, finding.run) == ("error", "case")
    assert finding.message == "16.0 GiB needed (base 16.0), the device has 8.0"


@pytest.mark.slow
def test_the_command_line_fixes_and_fails(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**COMMON, "data": {**RUST, "clean": {}}, "warmup_steps": 500}))
    command = [sys.executable, "-m", "paceline", "check", str(path)]
    done = subprocess.run([*command, "--fix"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "error   warmup-never-ends  500 of 23 steps warm up" in done.stdout
    assert "-warmup_steps: 500\n+warmup_steps: null\n+warmup_ratio: 0.1" in done.stdout
    again = [*command[:-1], str(tmp_path / "recipe.fixed.yaml"), "--json"]
    fixed = subprocess.run(again, capture_output=True, text=True, check=True)
    assert not [f for f in json.loads(fixed.stdout) if f["severity"] == "error"]


@pytest.mark.slow
def test_training_does_not_start_on_an_error_unless_told(tmp_path: Path) -> None:
    arguments = "train --base embedded --data embedded:rust -n 80 --max-steps 2 --lr 1 --runs"
    command = [sys.executable, "-m", "paceline", *arguments.split(), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "rate-out-of-range" in done.stderr
    assert "not started; change the recipe, or go on with --no-check" in done.stderr
    assert not (tmp_path / "run").exists()
    subprocess.run([*command, "--no-check"], capture_output=True, check=True)
