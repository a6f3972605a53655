"""One writer a directory, whoever dies."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.errors import RunError
from paceline.runs.lock import hold, hold_all

HOLDING = "import sys, time\nfrom pathlib import Path\nfrom paceline.runs.lock import hold\n" + (
    "with hold(Path(sys.argv[1])):\n    print('held', flush=True)\n    time.sleep(60)\n"
)


def holder(folder: Path) -> subprocess.Popen[str]:
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDING, str(folder)], stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    return process


def test_a_second_process_is_told_who_holds_it_and_a_dead_one_is_taken_over(tmp_path: Path) -> None:
    process = holder(tmp_path / "a")
    try:
        with pytest.raises(RunError, match=rf"a process already trains here \(pid {process.pid} on "):
            hold(tmp_path / "a").__enter__()
    finally:
        process.kill()
        process.communicate()
    assert (tmp_path / "a" / ".lock").is_file(), "what a killed process leaves behind"
    with hold(tmp_path / "a"):
        assert json.loads((tmp_path / "a" / ".lock").read_text())["pid"] == os.getpid()
    assert not (tmp_path / "a" / ".lock").exists()


def test_two_in_one_process_are_two(tmp_path: Path) -> None:
    with hold(tmp_path), pytest.raises(RunError, match=f"pid {os.getpid()} "):
        hold(tmp_path).__enter__()
    with hold(tmp_path):
        pass


@pytest.mark.parametrize("stale", ["", "{", '{"host": "elsewhere", "pid": 1, "started": 5.0}'])
def test_what_names_no_living_process_is_taken_over(stale: str, tmp_path: Path) -> None:
    (tmp_path / ".lock").write_text(stale)
    with hold(tmp_path):
        pass


def test_a_pid_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    with hold(tmp_path):
        ours = json.loads((tmp_path / ".lock").read_text())
    (tmp_path / ".lock").write_text(json.dumps({**ours, "started": ours["started"] - 100}))
    with hold(tmp_path):
        pass


def test_where_there_are_no_locks_the_file_decides(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(*arguments: object) -> None:
        raise OSError("no locks available")

    monkeypatch.setattr("fcntl.flock", none)
    with hold(tmp_path), pytest.raises(RunError, match="already trains here"):
        hold(tmp_path).__enter__()


def test_nothing_is_left_where_nothing_was_written(tmp_path: Path) -> None:
    with hold_all([tmp_path / "study" / "b", tmp_path / "study" / "a"]):
        assert (tmp_path / "study" / "a" / ".lock").is_file()
    assert list(tmp_path.iterdir()) == []
    with hold(tmp_path / "kept"):
        (tmp_path / "kept" / "recipe.yaml").write_text("")
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["recipe.yaml"]


def test_a_file_in_its_place_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("")
    with pytest.raises(RunError, match="exists and is no run directory"):
        hold(tmp_path / "a").__enter__()
