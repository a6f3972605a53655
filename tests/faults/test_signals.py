"""Real processes: stopped by whoever takes the machine back, with no room left, with nobody listening."""

import json
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase
from paceline.runs.directory import RunDirectory
from warm_process import WarmProcess

pytestmark = pytest.mark.slow


class Place:
    """A working directory with rows, and the command that trains a run on them."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.run = folder, folder / "runs" / "a"
        rows = ({"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(40))
        (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

        self._command = [
            "train", "--base", base, "--data", "d.jsonl", "--max-steps", "40", "--batch-size", "2",
            "--grad-accum", "1", "--save-steps", "4", "--logging-steps", "1", "--lora-r", "4",
            "--run-name", "a", "--no-check",
        ]  # fmt: skip

    def start(self) -> WarmProcess:
        return WarmProcess(*self._command, cwd=self.folder)

    def finish(self, **how: Any) -> tuple[int, str]:
        """A process of its own, whose output goes where `how` says."""
        done = subprocess.run(
            [sys.executable, "-m", "paceline", *self._command],
            cwd=self.folder,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
            text=True,
            check=False,
            timeout=120,
            **{"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, **how},
        )
        return done.returncode, done.stderr or ""

    def until_step(self, step: int, process: WarmProcess) -> None:
        while process.poll() is None and max(RunDirectory(self.run).all_checkpoints(), default=0) < step:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it was asked to"

    def is_finished(self) -> bool:
        return RunDirectory(self.run).status().state == "finished"


@pytest.fixture
def place(tiny_base: MakeBase, tmp_path: Path) -> Place:
    return Place(tmp_path, tiny_base())


def test_sigterm_and_sighup_save_and_the_run_goes_on(place: Place) -> None:
    for signum, step in ((signal.SIGTERM, 4), (signal.SIGHUP, 12)):
        process = place.start()
        place.until_step(step, process)
        process.send_signal(signum)
        process.send_signal(signum)  # as batch systems do
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 128 + signum, errors
        assert f"{signum.name}: saving after this step" in errors
        status = RunDirectory(place.run).status()
        assert (status.state, status.step) == ("stopped", max(RunDirectory(place.run).all_checkpoints()))
    process = place.start()
    _, errors = process.communicate(timeout=120)
    assert (process.returncode, place.is_finished()) == (0, True), errors


def test_no_room_is_one_line_and_the_same_command_goes_on(place: Place) -> None:
    """A limit on a file's size is met where a full disk is: in the middle of a write."""
    process = place.start()
    place.until_step(4, process)
    process.kill()
    process.communicate()
    log = (place.run / "events.jsonl").stat().st_size

    def limit() -> None:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (log + 300, log + 300))

    code, errors = place.finish(preexec_fn=limit)
    said = [line for line in errors.splitlines() if line.startswith("error: ")]
    assert (code, len(said)) == (2, 1), errors
    assert "no room left on the disk" in said[0]
    assert "Traceback" not in errors
    with open("/dev/full", "w") as full:
        code, errors = place.finish(stdout=full)
    assert (code, place.is_finished()) == (74, True), errors
    assert "the output cannot be written (No space left on device)" in errors
    assert "Traceback" not in errors


def test_nobody_listens_and_the_run_is_safe(place: Place) -> None:
    read, write = os.pipe()
    os.close(read)
    try:
        code, _ = place.finish(stdout=write, stderr=write)  # as `2>&1 | head` leaves it
    finally:
        os.close(write)
    assert (code, place.is_finished()) == (74, True)
