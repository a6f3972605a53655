"""Fetch-metrics: figures from W&B, MLflow and other trainers; test_trackers.py has Trackio's."""

import json
import struct
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import RunError
from paceline.report.metrics import fetch


def test_wandbs_offline_runs_are_read_over_blocks_up_to_where_they_are_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = [{"train/loss": 1 / (n + 1), "note": "x" * 50, "step": n} for n in range(1000)]
    content = _wandb_file([{"run": "first"}, *({"history": step} for step in steps)])
    folder = tmp_path / "wandb" / "offline-run-1"
    folder.mkdir(parents=True)
    (folder / "run-id.wandb").write_bytes(content[:-5])
    monkeypatch.setitem(sys.modules, "wandb", types.ModuleType("wandb"))
    monkeypatch.setitem(sys.modules, "wandb.proto", types.ModuleType("wandb.proto"))
    types_of_wandb = types.SimpleNamespace(Record=types.SimpleNamespace(FromString=_Record))
    monkeypatch.setitem(sys.modules, "wandb.proto.wandb_internal_pb2", types_of_wandb)
    points = fetch(str(tmp_path), "wandb")
    assert [point.step for point in points] == list(range(999))
    assert {point.run for point in points} == {"first"}
    assert points[998].figures == {"train/loss": 1 / 999}
    (tmp_path / "wandb" / "latest-run").symlink_to(folder)
    assert fetch(str(tmp_path), "wandb") == points
    with pytest.raises(RunError, match="no run of W&B there"):
        fetch(str(tmp_path / "nowhere"), "wandb")


class _Record:
    """As W&B's message of that name, made from JSON."""

    def __init__(self, content: bytes) -> None:
        self._fields = json.loads(content)
        self.run = types.SimpleNamespace(display_name=self._fields.get("run"))
        items = self._fields.get("history", {}).items()
        self.history = types.SimpleNamespace(
            item=[types.SimpleNamespace(key=k, nested_key=[], value_json=json.dumps(v)) for k, v in items]
        )

    def HasField(self, name: str) -> bool:  # noqa: N802 - protobuf's name
        return name in self._fields


def _wandb_file(records: list[Any]) -> bytes:
    """LevelDB's log: chunks of at most what is left of a block of 32 KiB, with headers of 7 bytes."""
    content = bytearray(b":W&B\xe1\xbe\x00")
    for record in records:
        left, first = json.dumps(record).encode(), True
        while left or first:
            room = 32768 - len(content) % 32768
            if room < 7:
                content += bytes(room)
                continue
            part, left = left[: room - 7], left[room - 7 :]
            kind = {(True, True): 1, (True, False): 2, (False, False): 3, (False, True): 4}[first, not left]
            content += struct.pack("<IHB", 0, len(part), kind) + part
            first = False
    return bytes(content)


def test_mlflow_gives_a_point_for_each_step(monkeypatch: pytest.MonkeyPatch) -> None:
    def history(run: str, name: str) -> Any:
        return [types.SimpleNamespace(step=step, value=float(len(name) + step)) for step in (0, 5)]

    run = types.SimpleNamespace(
        info=types.SimpleNamespace(run_id="id", run_name="a"),
        data=types.SimpleNamespace(metrics={"train/loss": 1.0, "train/lr": 2.0}),
    )
    client = types.SimpleNamespace(
        tracking_uri="sqlite:///mlflow.db",
        get_experiment_by_name={"mine": types.SimpleNamespace(experiment_id="1")}.get,
        search_runs=lambda experiments: [run],
        get_metric_history=history,
    )
    mlflow = types.SimpleNamespace(MlflowClient=lambda: client)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    errors = types.SimpleNamespace(MlflowException=RuntimeError)
    monkeypatch.setitem(sys.modules, "mlflow.exceptions", errors)
    points = fetch("mine", "mlflow")
    assert [(point.run, point.step) for point in points] == [("a", 0), ("a", 5)]
    assert points[1].figures == {"train/loss": 15.0, "train/lr": 13.0}
    with pytest.raises(RunError, match=r"no experiment 'other' at sqlite:///mlflow\.db"):
        fetch("other", "mlflow")


def test_other_trainers_states_are_read_and_anything_else_is_refused(tmp_path: Path) -> None:
    history = [{"loss": 2.0, "step": 1}, {"eval_loss": 1.5, "step": 1}, {"note": "done"}]
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    assert [point.figures for point in fetch(str(tmp_path), "runs")] == [{"loss": 2.0}, {"eval_loss": 1.5}]
    (tmp_path / "trainer_state.json").write_text("[]")
    with pytest.raises(RunError, match=r"not transformers' trainer_state\.json"):
        fetch(str(tmp_path), "runs")
    with pytest.raises(RunError, match="neither a run directory, a study's folder nor"):
        fetch(str(tmp_path / "nowhere"), "runs")
    with pytest.raises(RunError, match="no such tracker, did you mean 'wandb'"):
        fetch("x", "wandbb")
