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

pytestmark = pytest.mark.slow


class Place:
    """A working directory with rows, and the command that trains a run on them."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.run, self._base = folder, folder / "runs" / "a", base
        rows = ({"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(40))
        (folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(self, **how: Any) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "paceline", "train", "--base", self._base, "--data", "d.jsonl"]
        command += ["--max-steps", "40", "--batch-size", "2", "--grad-accum", "1", "--save-steps", "4"]
        command += ["--logging-steps", "1", "--lora-r", "4", "--run-name", "a", "--no-check"]
        how = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "preexec_fn": _hang_up_counts, **how}
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        return subprocess.Popen(command, cwd=self.folder, env=environment, text=True, **how)

    def finish(self, **how: Any) -> tuple[int, str]:
        process = self.start(**how)
        _, errors = process.communicate(timeout=120)
        return process.returncode, errors or ""

    def until_step(self, step: int, process: subprocess.Popen[str]) -> None:
        while process.poll() is None and max(RunDirectory(self.run).all_checkpoints(), default=0) < step:
            time.sleep(0.01)
        assert process.poll() is None, "it ended before it was asked to"

    def is_finished(self) -> bool:
        return RunDirectory(self.run).status().state == "finished"


def _hang_up_counts() -> None:
    """Tests that were started by nohup would hand on that SIGHUP is ignored."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)


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
    code, errors = place.finish()
    assert (code, place.is_finished()) == (0, True), errors


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
