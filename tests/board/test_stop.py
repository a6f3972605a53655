"""The stop button: a run that really trains saves and ends, and one elsewhere is left alone."""

import time
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from board.conftest import HOST, TOKEN
from helpers import MakeBase
from paceline.board.app import make_app
from paceline.runs.directory import RunDirectory
from paceline.runs.lock import hold, holder_of
from warm_process import WARM, run_main


def test_a_training_run_saves_stops_and_can_go_on(tiny_base: MakeBase, sums: str, tmp_path: Path) -> None:
    """The process ends as by SIGTERM (143), with a checkpoint at the step that it stopped at."""
    arguments = [
        "train", "--base", tiny_base(), "--data", sums, "--max-length", "128", "--max-steps", "5000",
        "--run-name", "long", "--no-check", "--logging-steps", "1",
    ]  # fmt: skip
    (tmp_path / "in").write_text("")
    files = [str(tmp_path / name) for name in ("in", "out", "err")]
    process = WARM.Process(target=run_main, args=(arguments, str(tmp_path), files))
    process.start()
    run = tmp_path / "runs" / "long"
    while process.is_alive() and not (run / "events.jsonl").is_file():
        time.sleep(0.05)
    with TestClient(make_app(run, TOKEN), base_url=HOST) as client:
        client.get(f"/?token={TOKEN}")
        assert "Save and stop" in client.get("/").text
        said = client.post("/stop", data={"run": "long"}, headers={"Origin": HOST})
    assert said.status_code == 200, said.text
    process.join(60)
    assert process.exitcode == 143, Path(files[2]).read_text()
    status = RunDirectory(run).status()
    assert (status.state, status.step) == ("stopped", max(RunDirectory(run).all_checkpoints()))


@pytest.mark.parametrize(
    ("other", "said"),
    [({"host": "elsewhere"}, "another machine, elsewhere (pid"), ({}, "would end without a save")],
)
def test_what_would_not_save_here_is_not_stopped(boarded: Path, ask: Any, other: Any, said: str) -> None:
    """This process holds the run, so a signal that was sent would end the test."""
    folder = boarded / "plain"
    with hold(folder):
        holder = holder_of(folder)
        assert holder
        (folder / ".lock").write_text(holder.model_copy(update=other).to_json())
        answer = ask("POST", "/stop", {"run": "plain"})
    assert answer.status_code == 409
    assert said in answer.text
