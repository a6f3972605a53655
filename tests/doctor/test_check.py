"""The check as users meet it: its exit codes, `--fix`, and training that does not begin on an error."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from checked_recipe import COMMON, RUST

from paceline.doctor import check as check_module
from paceline.training.estimate import CohortEstimate
from warm_process import run_warm


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
    done = run_warm("check", path, "--fix", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "error   warmup-never-ends  500 of 23 steps warm up" in done.stdout
    assert "-warmup_steps: 500\n+warmup_steps: null\n+warmup_ratio: 0.1" in done.stdout
    fixed = run_warm("check", "recipe.fixed.yaml", "--json", cwd=tmp_path)
    assert fixed.returncode == 0, fixed.stderr
    assert not [f for f in json.loads(fixed.stdout) if f["severity"] == "error"]


@pytest.mark.slow
def test_training_does_not_start_on_an_error_unless_told(tmp_path: Path) -> None:
    arguments = "train --base embedded --data embedded:rust -n 80 --max-steps 2 --lr 1 --runs"
    done = run_warm(*arguments.split(), tmp_path, cwd=tmp_path)
    assert done.returncode == 1
    assert "rate-out-of-range" in done.stderr
    assert "not started; change the recipe, or go on with --no-check" in done.stderr
    assert not (tmp_path / "run").exists()
    assert run_warm(*arguments.split(), tmp_path, "--no-check", cwd=tmp_path).returncode == 0
