"""A control group of its own for a run, where one can be made; the groups here are plain folders."""

from pathlib import Path
from typing import Any

import pytest

from paceline.evaluate.sandbox import bubblewrap, control_group
from paceline.evaluate.sandbox.control_group import ControlGroup
from paceline.evaluate.sandbox.limits import Limits
from paceline.evaluate.sandbox.sandbox import open_sandbox

LIMITS = Limits(memory=2**28, processes=10)


def test_a_group_has_the_limits_and_tells_when_the_kernel_killed_for_them(tmp_path: Path) -> None:
    group = ControlGroup(tmp_path, LIMITS)
    group.take(42)
    written = {file.name: file.read_text() for file in group.path.iterdir()}
    assert written == {
        "memory.max": str(2**28),
        "memory.swap.max": "0",
        "memory.oom.group": "1",
        "pids.max": "40",
        "cgroup.procs": "42",
    }
    (group.path / "memory.events").write_text("low 0\nmax 7\noom 1\noom_kill 0\n")
    assert not group.is_over
    (group.path / "memory.events").write_text("low 0\nmax 9\noom 2\noom_kill 3\n")
    assert group.is_over


@pytest.mark.parametrize(
    ("own", "found"),
    [
        ("0::/user.slice/app.slice/shell.scope\n", "user.slice/app.slice"),  # its nearest one above
        ("0::/user.slice/session.scope\n", None),  # nothing above it may be written, or has the limits
        ("4:memory:/somewhere\n", None),  # groups of version 1
    ],
)
def test_the_nearest_group_that_can_hold_one_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, own: str, found: Any
) -> None:
    for folder, controllers in [("user.slice", "cpu memory"), ("user.slice/app.slice", "memory pids")]:
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "cgroup.subtree_control").write_text(controllers)
        (tmp_path / folder / "cgroup.procs").touch()
    (tmp_path / "own").write_text(own)
    monkeypatch.setattr(control_group, "_ROOT", tmp_path)
    monkeypatch.setattr(control_group, "_OWN", tmp_path / "own")
    monkeypatch.setattr(ControlGroup, "remove", lambda self: None)
    control_group._parent.cache_clear()
    parent = control_group._parent()
    control_group._parent.cache_clear()
    assert parent == (found and tmp_path / found)


@pytest.mark.sandbox
def test_a_program_begins_inside_its_group_and_ends_for_its_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    class Group:
        taken: list[bytes] = []  # noqa: RUF012
        is_over = False

        def take(self, pid: int) -> None:
            self.taken.append(Path(f"/proc/{pid}/cmdline").read_bytes())

        def remove(self) -> None:
            self.taken.append(b"removed")

    box = open_sandbox(limits=Limits(seconds=5))
    monkeypatch.setattr(bubblewrap, "open_group", lambda limits: Group())
    result = box.run(["/bin/sh", "-c", "read line; echo $line"], {}, "its own input\n")
    assert (result.output, result.ended) == ("its own input\n", None)
    waiting, removed = Group.taken
    assert waiting.startswith(b"/bin/sh\0-c\0read _; exec")
    assert removed == b"removed"
    Group.is_over = True
    assert box.run(["true"], {}).ended == "memory"
