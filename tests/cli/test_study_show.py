"""`paceline study show`: a study before it is trained, and what ended its runs early afterwards."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from paceline.cli.main import main
from paceline.runs.directory import RunDirectory, RunStatus

STUDY = """
study: s
recipe: {base: embedded, data: {source: "embedded:rust", n: 80}, max_steps: 4}
runs: [{name: a}, {name: b, lr: 1e-3}]
"""


def show(folder: Path, monkeypatch: pytest.MonkeyPatch, *arguments: str) -> None:
    (folder / "s.yaml").write_text(STUDY)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(sys, "argv", ["paceline", "study", "show", "s.yaml", *arguments])
    with pytest.raises(SystemExit) as ended:
        main()
    assert not ended.value.code


def test_what_ended_a_run_early_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    directory = RunDirectory(tmp_path / "runs" / "s" / "b")
    directory.path.mkdir(parents=True)
    directory.set_status(RunStatus(state="failed", step=2, total_steps=4, reason="loss nan"))
    show(tmp_path, monkeypatch)
    assert "b: failed after step 2 of 4: loss nan" in capsys.readouterr().out
    show(tmp_path, monkeypatch, "--json")
    first, second = json.loads(capsys.readouterr().out)["runs"]
    assert (first["ended_early"], second["ended_early"]) == ({}, {"b": "failed after step 2 of 4: loss nan"})


@pytest.mark.parametrize(("encoding", "arrow"), [("ascii", "->"), ("cp1252", "->"), ("utf-8", "→")])
def test_signs_that_a_terminal_has_not_are_printed_as_plain_ones(encoding: str, arrow: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "paceline", "study", "show", "examples/demo.yaml"],
        capture_output=True,
        check=True,
        cwd=Path(__file__).parents[2],
        env={**os.environ, "PYTHONIOENCODING": encoding},
    )
    assert f"lr: 0.002 {arrow} 0.0005" in done.stdout.decode(encoding)
