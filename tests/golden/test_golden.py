"""From release to release: small trainings end as golden.json says, and runs kept half-way go on to there.

`scripts/make_golden.py` renews both where bits are meant to move; CHANGELOG.md says so then.
"""

import copy
import json
import math
import runpy
import shutil
import warnings
from pathlib import Path
from typing import Any

import pytest

from paceline.errors import RunError
from paceline.runs.directory import RunDirectory
from paceline.runs.files import read_json, write_json
from paceline.runs.manifest import read_sealed, write_manifest, write_sealed

pytestmark = pytest.mark.slow

GOLDEN = Path(__file__).parent
SCRIPT = runpy.run_path(str(GOLDEN.parents[1] / "scripts" / "make_golden.py"))
KEPT = json.loads((GOLDEN / "golden.json").read_text())
# Of a loss, where another CPU or other versions sum in another order: a thousand times what was measured.
TOLERANCE = 1e-4


def assert_golden(found: dict[str, dict[str, Any]], here: dict[str, Any]) -> None:
    """The same bits on the same machine; else the same losses, within a tolerance, and a warning."""
    other = [
        f"{name} {here[name]}, there {value}"
        for name, value in KEPT["machine"].items()
        if here[name] != value
    ]
    if not other:
        assert found == KEPT["runs"], "bits moved; if they are meant to, run scripts/make_golden.py"
        return
    for name, kept in KEPT["runs"].items():
        for what in ("loss", "eval_loss"):
            assert len(found[name][what]) == len(kept[what]), (name, what)
            for mine, theirs in zip(found[name][what], kept[what], strict=True):
                assert math.isclose(mine, theirs, rel_tol=TOLERANCE), (name, what, mine, theirs)
    warnings.warn(
        f"golden bits were not compared, only losses within a tolerance: {'; '.join(other)}",
        Warning,  # one that every process of the tests knows, and no filter makes an error
        stacklevel=2,
    )


def test_trainings_of_every_kind_have_the_golden_bits(tmp_path: Path) -> None:
    SCRIPT["train"](tmp_path)
    assert_golden(SCRIPT["figures"](tmp_path), SCRIPT["machine"]())


def test_the_runs_kept_half_way_go_on_to_the_golden_end(tmp_path: Path) -> None:
    stopped = SCRIPT["stopped_runs"]()
    assert len(stopped) >= 6
    folder = shutil.copytree(GOLDEN / "stopped", tmp_path / "golden")
    SCRIPT["train"](folder)
    for name in stopped:
        checkpoint = RunDirectory(GOLDEN / "stopped" / name).latest_checkpoint()
        assert checkpoint is not None
        log = (checkpoint / "events.jsonl").read_bytes()
        assert (folder / name / "events.jsonl").read_bytes().startswith(log), f"{name} began anew"
    assert_golden(SCRIPT["figures"](folder), SCRIPT["machine"]())


def test_another_machine_s_losses_are_compared_and_its_bits_are_said_not_to_be() -> None:
    here, found = {**KEPT["machine"], "cpu": "another"}, copy.deepcopy(KEPT["runs"])
    found["plain"]["sha256"] = "other bits"
    with pytest.warns(Warning, match="golden bits were not compared.*: cpu another, there "):
        assert_golden(found, here)
    with pytest.raises(AssertionError, match="bits moved"):
        assert_golden(found, KEPT["machine"])
    found["plain"]["eval_loss"][-1] *= 1.001
    with pytest.raises(AssertionError, match=r"plain.*eval_loss"):
        assert_golden(found, here)


def test_checkpoints_of_a_format_to_come_are_refused_in_a_line_and_stay(tmp_path: Path) -> None:
    folder = shutil.copytree(GOLDEN / "stopped", tmp_path / "golden")
    run = RunDirectory(folder / "plain")
    newest = run.latest_checkpoint()
    assert newest is not None
    for place in (newest, run.path):
        inputs = read_sealed(place / "inputs.json")
        del inputs["base_config"]
        write_sealed(place / "inputs.json", {**inputs, "checkpoint_format": 99, "version": "9.9.9"})
    write_json(newest / "progress.json", {"steps": read_json(newest / "progress.json")["step"]})
    write_manifest(newest)
    with pytest.raises(
        RunError, match=r"written by Paceline 9\.9\.9 in format 99, this one \(.*\) reads format"
    ):
        SCRIPT["train"](folder)
    assert run.latest_checkpoint() == newest
