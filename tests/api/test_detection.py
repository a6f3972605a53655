"""Planning seeds and held-out examples from the noise of earlier runs, whose losses are written by hand."""

from pathlib import Path

import numpy as np
import pytest
import yaml

from helpers import MakeBase
from paceline.api.detection import DetectionPlan, detection_plan
from paceline.config.load import load_study
from paceline.config.study import Study
from paceline.errors import ConfigError, RunError
from paceline.runs.directory import RunDirectory, RunStatus
from paceline.runs.losses import ExampleLosses
from paceline.runs.study import write_study_record
from paceline.stats.power import Design
from paceline.training.estimate import CohortEstimate, RunEstimate

COST = [
    CohortEstimate(
        base="b",
        runs=[RunEstimate(name="low", steps=1, tokens=1, coverage=1.0, seconds=60.0, evaluation=0.1)],
        memory={},
        available=0,
    )
]


def _study(folder: Path, base: str, data: str, **fields: object) -> Study:
    content = {
        "study": "s",
        "recipe": {"base": base, "data": {"source": data, "n": 100}},
        "runs": [{"name": "low"}, {"name": "high", "lr": 1e-3}],
        **fields,
    }
    (folder / "s.yaml").write_text(yaml.safe_dump(content))
    return load_study(folder / "s.yaml")


def _losses(values: np.ndarray) -> ExampleLosses:
    ones, nan = np.ones(len(values), dtype=np.int64), np.full(len(values), np.nan)
    return ExampleLosses(
        ["s"] * len(values), np.arange(len(values)), ["t"] * len(values), ones, values, ones, nan, ones
    )


@pytest.fixture
def pilot(tiny_base: MakeBase, sums: str, tmp_path: Path) -> Path:
    """Runs of two recipes with four seeds; a seed moves a loss by about 0.02."""
    folder, random = tmp_path / "pilot", np.random.default_rng(0)
    folder.mkdir()
    study = _study(tmp_path, tiny_base("qwen3"), sums, seeds=4)
    write_study_record(study, folder)
    unit = random.normal(2, 0.3, 50)
    for run in study.runs:
        directory = RunDirectory(folder / run.name)
        directory.claim(run.recipe)
        directory.set_status(RunStatus(state="finished"))
        own = unit + random.normal(0, 0.02) + random.normal(0, 0.05, 50)
        _losses(own).save(directory.eval / "final.parquet")
        _losses(unit + 1).save(directory.eval / "base.parquet")
    return folder


def test_a_plan_is_made_from_a_pilot(pilot: Path, tiny_base: MakeBase, sums: str, tmp_path: Path) -> None:
    study = _study(tmp_path, tiny_base("qwen3"), sums, seeds=2)
    found = detection_plan(study, COST, pilot, delta=0.05, power=0.9)
    assert (found.recipes, found.held_out) == (2, 10)
    assert found.most == 10 + 240 - 100, "the rows that the sample leaves can be held out too"
    assert found.now is not None
    assert found.design is not None
    assert (found.now.seeds, found.now.units) == (2, 10)
    assert found.now.seconds == pytest.approx(4 * (60 + 10 * 0.1))
    assert found.design.detectable <= 0.05 * 1.02
    assert found.design.seconds == pytest.approx(2 * found.design.seeds * (60 + found.design.units * 0.1))
    said = "\n".join(found.sentences())
    assert f"as in {pilot}, on low, high\n" in said
    assert f"{found.design.seeds} seeds each and {found.design.units} held-out examples" in said
    assert f"(seeds: {found.design.seeds}" in said


def test_a_difference_out_of_reach_is_said_to_be(
    pilot: Path, tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    study = _study(tmp_path, tiny_base("qwen3"), sums)
    found = detection_plan(study, COST, pilot, delta=0.0005, power=0.9)
    assert found.design is None
    assert found.now is None, "one seed each finds nothing about recipes"
    assert "not even 20 seeds each and all 150 possible held-out examples" in found.sentences()[-1]


def test_more_held_out_examples_come_with_the_fields_to_write() -> None:
    plan = DetectionPlan(
        delta=0.01,
        power=0.8,
        noise_from="p",
        noise_note="",
        recipes=3,
        train=900,
        held_out=100,
        most=400,
        design=Design(seeds=4, units=300, detectable=0.0099, seconds=7200.0),
        now=None,
    )
    assert plan.sentences()[-1] == (
        "a difference of 0.01 between two of 3 recipes, 80% power: 4 seeds each and 300 held-out examples, "
        "about 2.0 hours (seeds: 4; data: {n: 1200, eval_ratio: 0.2500})"
    )


def test_what_cannot_be_planned_is_refused(
    pilot: Path, tiny_base: MakeBase, sums: str, tmp_path: Path
) -> None:
    base = tiny_base("qwen3")
    study = _study(tmp_path, base, sums)
    with pytest.raises(ConfigError, match="above 0"):
        detection_plan(study, COST, pilot, delta=0.0, power=0.9)
    with pytest.raises(ConfigError, match="above 0"):
        detection_plan(study, COST, pilot, delta=float("nan"), power=0.9)
    with pytest.raises(ConfigError, match="power below 1"):
        detection_plan(study, COST, pilot, delta=0.1, power=1.0)
    with pytest.raises(ConfigError, match="has one recipe"):
        detection_plan(
            _study(tmp_path, base, sums, runs=[{"name": "low"}]), COST, pilot, delta=0.1, power=0.9
        )
    with pytest.raises(RunError, match="no runs there"):
        detection_plan(study, COST, tmp_path / "nowhere", delta=0.1, power=0.9)
    with pytest.raises(RunError, match="its base is"):
        detection_plan(_study(tmp_path, "embedded", sums), COST, pilot, delta=0.1, power=0.9)
    for replicate in pilot.glob("*-seed*/eval/final.parquet"):
        replicate.unlink()
    with pytest.raises(RunError, match="no recipe has two finished replicates"):
        detection_plan(study, COST, pilot, delta=0.1, power=0.9)
