"""Real processes: killed between two kinds of data, two at once, a longer run after a kill."""

import json
import signal
import time
from pathlib import Path

import pytest

from helpers import MakeBase, adapter_bytes
from paceline.runs.directory import RunDirectory
from paceline.runs.events import TrainEvent, of_kind, read_events
from warm_process import WarmProcess

pytestmark = pytest.mark.slow


class Place:
    """A working directory with rows, and the command that trains on them."""

    def __init__(self, folder: Path, base: str) -> None:
        self.folder, self.run, self._base = folder, folder / "runs" / "live", base
        self.write("The answer is")

    def write(self, text: str) -> None:
        rows = ({"prompt": f"What is {i}?", "completion": f"{text} {i}."} for i in range(60))
        (self.folder / "d.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))

    def start(self, steps: int = 60, *more: str) -> WarmProcess:
        return WarmProcess(
            "train", "--base", self._base, "--data", "d.jsonl", "--max-steps", steps, "--batch-size", "2",
            "--grad-accum", "1", "--lr", "1e-3", "--lr-scheduler", "constant", "--logging-steps", "1",
            "--save-steps", "2", "--no-check", "--run-name", "live", *more,
            cwd=self.folder,
        )  # fmt: skip

    def train(self, steps: int = 60, *more: str) -> tuple[int | None, str]:
        process = self.start(steps, *more)
        _, errors = process.communicate(timeout=120)
        assert "Traceback" not in errors
        return process.returncode, errors

    def until_step(self, step: int, process: WarmProcess) -> None:
        while process.poll() is None and max(RunDirectory(self.run).all_checkpoints(), default=0) < step:
            time.sleep(0.01)

    def kill_at(self, step: int, process: WarmProcess) -> None:
        self.until_step(step, process)
        assert process.poll() is None, "it ended before it could be killed"
        process.kill()
        process.communicate()


@pytest.fixture
def place(tiny_base: MakeBase, tmp_path: Path) -> Place:
    return Place(tmp_path, tiny_base())


def test_killed_and_given_other_rows(place: Place) -> None:
    place.kill_at(6, place.start())
    log = (place.run / "events.jsonl").read_bytes()
    place.write("Es ist")
    code, errors = place.train()
    assert code == 2
    assert "runs/live: the training rows and the held-out rows changed since the run began" in errors
    assert (place.run / "events.jsonl").read_bytes() == log
    place.write("The answer is")
    assert place.train()[0] == 0


def test_two_at_once_and_one_after_a_kill(place: Place) -> None:
    first = place.start()
    place.until_step(2, first)
    first.send_signal(signal.SIGSTOP)  # alive, and no further when the second comes
    code, errors = place.train()
    assert code == 2
    assert f"runs/live: a process already trains here (pid {first.pid} on " in errors
    first.kill()
    first.communicate()
    assert place.train()[0] == 0, "a lock of the dead holds nobody up"
    steps = [event.step for event in of_kind(read_events(place.run / "events.jsonl"), TrainEvent)]
    assert steps == list(range(1, 61))


def test_a_longer_run_that_is_killed_on_its_way_goes_on(place: Place) -> None:
    assert place.train(7)[0] == 0
    place.kill_at(20, place.start(60, "--extend"))
    assert RunDirectory(place.run).status().state == "running"
    assert place.train(60)[0] == 0
    kept = adapter_bytes(place.run)
    place.run.rename(place.run.with_name("kept"))
    assert place.train(60)[0] == 0
    assert adapter_bytes(place.run) == kept
