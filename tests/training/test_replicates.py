"""Replicates that train: a study begun with one seed goes on, and the held-out side is measured once."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from helpers import MakeBase, adapter_bytes
from paceline.config.load import load_study
from paceline.config.study import Study
from paceline.runs.directory import RunDirectory
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import recipe_groups, run_directories
from paceline.training import heldout, start
from paceline.training.study import train_study

pytestmark = pytest.mark.slow


def _study(folder: Path, base: str, data: str, **fields: Any) -> Study:
    content = {
        "study": "s",
        "recipe": {"base": base, "data": {"source": data, "n": 60}, "max_steps": 2, "lr": 1e-3, "lora_r": 4},
        "runs": [{"name": "first"}, {"name": "child", "init_from": "first"}],
        **fields,
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(content))
    return load_study(folder / "s.yaml")


def test_a_study_begun_with_one_seed_goes_on_with_several(
    tiny_base: MakeBase, sums: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, base = tmp_path / "s", tiny_base("qwen3")
    train_study(_study(tmp_path, base, sums), folder)
    before = {name: adapter_bytes(folder / name) for name in ("first", "child")}
    measured, plain = [], heldout.held_out_losses

    def counted(*arguments: Any) -> ExampleLosses:
        measured.append(arguments)
        return plain(*arguments)

    monkeypatch.setattr(start, "held_out_losses", counted)
    outcome = train_study(_study(tmp_path, base, sums, seeds={"count": 3, "resample": True}), folder)
    assert outcome.skipped == ["first", "child"]
    assert set(outcome.states().values()) == {"finished"}
    assert {name: adapter_bytes(folder / name) for name in before} == before, "nothing is trained again"
    assert len(measured) == 1, "the base's held-out losses are the same for every draw of training rows"
    groups = {group.name: group for group in recipe_groups(run_directories([folder]))}
    assert groups["first"].seeds == groups["child"].seeds == (42, 43, 44)
    adapters = {adapter_bytes(directory.path) for group in groups.values() for directory in group.directories}
    assert len(adapters) == 6
    assert RunDirectory(folder / "child-seed44").recipe().init_from == "first-seed44"
    held_out = [ExampleLosses.read(d.eval / "final.parquet") for d in groups["first"].directories]
    assert all((losses.row == held_out[0].row).all() for losses in held_out)


def test_a_replicate_is_the_run_with_its_seed(tiny_base: MakeBase, sums: str, tmp_path: Path) -> None:
    base, runs = tiny_base("qwen3"), [{"name": "first"}]
    train_study(_study(tmp_path, base, sums, runs=runs, seeds=2), tmp_path / "replicated")
    train_study(_study(tmp_path, base, sums, runs=[{"name": "first", "seed": 43}]), tmp_path / "alone")
    replicated, alone = tmp_path / "replicated" / "first-seed43", tmp_path / "alone" / "first"
    assert adapter_bytes(replicated) == adapter_bytes(alone)
