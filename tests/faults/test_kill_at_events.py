"""Killed before any change of a file: what is on the disk at that instant ends with the same bits.

A study is trained once, and its folder is copied before each change; every copy is what a kill there leaves.
CI goes on from one in twelve, `PACELINE_KILLS=all pytest -s tests/faults/test_kill_at_events.py` from all.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from helpers import MakeBase, adapter_bytes
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.runs.events import read_events
from paceline.training.study import train_study

pytestmark = pytest.mark.slow

CHANGES = ("mkdir", "rename", "replace", "unlink", "rmdir", "fsync")
EVERY = 1 if os.environ.get("PACELINE_KILLS") == "all" else 12


class Instants:
    """Copies of a folder, one for each state that it has been in when something in it was about to change."""

    def __init__(self, folder: Path, copies: Path) -> None:
        self._folder, self._copies, self._busy = folder, copies, False
        self.events, self.states = 0, {}

    def before(self, change: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **options: Any) -> Any:
            if not self._busy and self._folder.exists():
                self._busy = True
                self._keep()
                self._busy = False
            return change(*arguments, **options)

        return counted

    def _keep(self) -> None:
        self.events += 1
        state = hashlib.sha256()
        for path in sorted(self._folder.rglob("*")):
            state.update(str(path).encode() + (path.read_bytes() if path.is_file() else b"/"))
        if state.digest() not in self.states:
            copy = self._copies / str(len(self.states))
            self.states[state.digest()] = shutil.copytree(self._folder, copy)


@pytest.fixture
def small(tiny_base: MakeBase, tmp_path: Path) -> Study:
    rows = tmp_path / "rows.jsonl"
    texts = ({"prompt": f"What is {i}?", "completion": f"It is {i + 1}."} for i in range(20))
    rows.write_text("".join(json.dumps(text) + "\n" for text in texts))
    fields = {
        "base": tiny_base(),
        "data": {"source": str(rows), "eval_ratio": 0.2},
        "max_length": 64,
        "lora_r": 2,
        "lora_dropout": 0.1,
        "lr": 1e-3,
        "batch_size": 2,
        "grad_accum": 1,
        "max_steps": 6,
        "logging_steps": 1,
        "eval_steps": 3,
        "save_steps": 2,
        "load_best": True,
    }
    return Study(name="s", runs=[Run(name="a", recipe=make_recipe(fields, "test"))])


def content(run: Path) -> Any:
    log = [event.model_dump(exclude={"seconds"}) for event in read_events(run / "events.jsonl")]
    return adapter_bytes(run), log, (run / "eval" / "final.parquet").read_bytes()


def test_a_kill_before_any_change_of_a_file_costs_no_bit(
    small: Study, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "whole"
    instants = Instants(folder, tmp_path)
    with monkeypatch.context() as patched:
        for name in CHANGES:
            patched.setattr(os, name, instants.before(getattr(os, name)))
        train_study(small, folder)
    whole = content(folder / "a")
    assert instants.events >= 70
    copies = list(instants.states.values())[::EVERY]
    for copy in copies:
        train_study(small, copy)
        assert content(copy / "a") == whole, copy
    print(f"\n{instants.events} changes of files, {len(instants.states)} states, {len(copies)} gone on from")
