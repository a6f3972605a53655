"""Data sets of a hub: revisions whose rows differ, and rows that are streamed."""

import json
from pathlib import Path
from typing import Any

import pytest

from hub import Hub, revision
from hub_fixtures import hub, paceline
from paceline.runs.inputs import read_inputs

__all__ = ["hub", "paceline"]

pytestmark = pytest.mark.slow

NAME = "someone/sums"


def rows(first: int, count: int, answer: str = "It is") -> bytes:
    lines = ({"prompt": f"What is {i}?", "completion": f"{answer} {i}."} for i in range(first, first + count))
    return "".join(json.dumps(line) + "\n" for line in lines).encode()


def test_a_revision_has_its_own_rows(hub: Hub, paceline: Any) -> None:
    hub.datasets[NAME] = {
        "main": {"train.jsonl": rows(0, 40)},
        "v1": {"train.jsonl": rows(0, 30, "Perhaps")},
    }
    done = paceline("data", "show", NAME, "--json")
    assert json.loads(done.stdout)["rows"] == 40, done.stderr
    done = paceline("data", "show", NAME, "--revision", "v1")
    assert f"{NAME}: 30 examples" in done.stdout, done.stderr
    assert "Perhaps " in done.stdout
    done = paceline("data", "show", NAME, "--revision", "v2")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: data '{NAME}'")
    assert "v2" in line


def test_a_run_goes_on_with_the_rows_of_its_revision_only(hub: Hub, paceline: Any, tmp_path: Path) -> None:
    first = {"train.jsonl": rows(0, 40)}
    hub.datasets[NAME] = {"main": first}
    common = ["train", "--base", "embedded", "--data", NAME, "--no-check", "--batch-size", 2]
    common += ["--grad-accum", 1, "--max-length", 128, "--lr-scheduler", "constant"]
    moving = [*common, "--run-name", "moving"]
    pinned = [*common, "--run-name", "pinned", "--revision", revision(first)]
    for command in (moving, pinned):
        done = paceline(*command, "--max-steps", 2)
        assert done.returncode == 0, done.stderr
    began = [read_inputs(tmp_path / "runs" / name) for name in ("moving", "pinned")]
    assert began[0] == began[1] is not None
    hub.datasets[NAME] = {"main": {"train.jsonl": rows(0, 40, "Perhaps")}, "old": first}
    done = paceline(*moving, "--max-steps", 3, "--extend")
    assert done.returncode == 2
    assert "the training rows and the held-out rows changed since the run began" in done.stderr
    done = paceline(*pinned, "--max-steps", 3, "--extend")
    assert done.returncode == 0, done.stderr


def test_streaming_reads_the_first_rows_and_not_all_files(hub: Hub, paceline: Any, tmp_path: Path) -> None:
    shards = {f"train-{i:05d}-of-00008.jsonl": rows(2000 * i, 2000) for i in range(8)}
    hub.datasets[NAME] = {"main": shards, "v1": {"train.jsonl": rows(0, 40, "Perhaps")}}
    streamed = paceline("data", "show", NAME, "--stream", "-n", 50)
    assert f"{NAME}: 50 examples" in streamed.stdout, streamed.stderr
    assert {file for file, _ in hub.sent} <= set(sorted(shards)[:2]), "datasets may look one file ahead"
    assert sum(size for _, size in hub.sent) < sum(map(len, shards.values())) / 2
    local = tmp_path / "first.jsonl"
    local.write_bytes(b"".join(shards["train-00000-of-00008.jsonl"].splitlines(keepends=True)[:50]))
    shown = paceline("data", "show", local)
    assert shown.stdout.split("\n", 1)[1] == streamed.stdout.split("\n", 1)[1]
    done = paceline("data", "show", NAME, "--stream", "-n", 5, "--revision", "v1")
    assert "Perhaps " in done.stdout, done.stderr
