"""Trackio over HTTP: its own server, a server of faults, and a space that the hub makes."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from hub import TOKEN

SERVER = """
import trackio
_, _, _, url = trackio.show(open_browser=False, block_thread=False)
print("at", url, flush=True)
input()
"""
READ = """
import json, sys
from trackio.sqlite_storage import SQLiteStorage
print(json.dumps({run: SQLiteStorage.get_logs("two", run) for run in ("a", "b")}))
"""
STUDY = """study: two
recipe:
  {base: embedded, data: {source: "embedded:rust", n: 40}, max_steps: 3, logging_steps: 1,
   batch_size: 2, grad_accum: 1, track: trackio, SPACE }
runs: [RUNS]
"""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Any]:
    """Trackio's own server; gives its address with the write token, and what reads its store."""
    environment = {**os.environ, "TRACKIO_DIR": str(tmp_path / "server"), "GRADIO_SERVER_PORT": "7990"}
    process = subprocess.Popen(
        [sys.executable, "-c", SERVER],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    url = next(line.split()[1] for line in process.stdout if line.startswith("at "))

    def stored() -> Any:
        return json.loads(
            subprocess.run(
                [sys.executable, "-c", READ], env=environment, capture_output=True, text=True, check=True
            ).stdout
        )

    yield url, stored
    process.send_signal(signal.SIGKILL)
    process.wait()


def train(paceline: Any, tmp_path: Path, space: Any = None, server: Any = None, names: Any = "ab") -> Any:
    """Trains a study that is tracked; gives its losses by run."""
    runs = ", ".join(f"{{name: {name}, seed: {seed}}}" for seed, name in enumerate(names))
    (tmp_path / "two.yaml").write_text(
        STUDY.replace("SPACE", f"track_space: {space}" if space else "").replace("RUNS", runs)
    )
    done = paceline("study", "run", "two.yaml", "--no-check", "--json", TRACKIO_SERVER_URL=server)
    assert done.returncode == 0, done.stderr
    assert len(json.loads(done.stdout)["recipes"]) == len(names)  # and nothing of Trackio's beside it
    assert "Traceback" not in done.stderr
    losses = {}
    for name in names:
        folder = tmp_path / "runs" / "two" / name
        assert json.loads((folder / "status.json").read_text())["state"] == "finished"
        events = map(json.loads, (folder / "events.jsonl").read_text().splitlines())
        losses[name] = [event["loss"] for event in events if event["event"] == "train"]
    return losses


@pytest.mark.slow
def test_two_runs_reach_a_server(paceline: Any, server: Any, tmp_path: Path) -> None:
    url, stored = server
    losses = train(paceline, tmp_path, server=url)
    lines = stored()
    for name in "ab":
        assert [line["train/loss"] for line in lines[name] if "train/loss" in line] == pytest.approx(
            losses[name]
        )
    token = url.split("write_token=")[1].split("&")[0]
    assert not [
        file
        for file in (tmp_path / "runs").rglob("*")
        if file.is_file() and token in file.read_text(errors="ignore")
    ]


def test_the_address_of_a_server_is_no_space(paceline: Any, tmp_path: Path) -> None:
    done = paceline(
        "train",
        "--base",
        "embedded",
        "--data",
        "embedded:rust",
        "--track",
        "trackio",
        "--space",
        "http://here?write_token=very-secret",
        "--run-name",
        "x",
    )
    assert done.returncode == 2
    assert "TRACKIO_SERVER_URL" in done.stderr
    assert "very-secret" not in done.stderr


@pytest.mark.slow
def test_a_faulty_server_harms_no_run(paceline: Any, hub: Any, tmp_path: Path) -> None:
    hub.faults += [("GET /version", 500), ("GET /config", 429), ("POST /.*", 401)] * 3
    train(paceline, tmp_path, server=f"{hub.url}?write_token=very-secret")
    assert hub.asked, "the server was never asked"


@pytest.mark.slow
def test_a_new_space_is_private(paceline: Any, hub: Any, tmp_path: Path) -> None:
    train(paceline, tmp_path, space="someone/dashboard")
    space = hub.repositories["someone/dashboard"]
    assert space["private"]
    assert hub.buckets == {"someone/dashboard-bucket": {"visibility": "private"}}
    assert {"app.py", "requirements.txt", "README.md"} <= set(space["files"])
    assert not any(TOKEN.encode() in data for data in space["files"].values())


@pytest.mark.slow
def test_a_hub_that_refuses_a_space_harms_no_run(paceline: Any, hub: Any, tmp_path: Path) -> None:
    hub.faults += [("POST /api/repos/create", status) for status in (401, 403, 409, 429, 500)]
    train(paceline, tmp_path, space="someone/dashboard", names="abcde")  # each run asks for the space
    assert not hub.faults
