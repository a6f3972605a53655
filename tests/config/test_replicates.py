"""Replicates: which runs `seeds` and `noise` make, and what they refuse."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from paceline.api.loading import as_study
from paceline.config.load import load_study, resolve_recipe
from paceline.config.rehearse import rehearsal
from paceline.config.replicates import parse_seeds, with_seeds
from paceline.config.study import Study
from paceline.config.yaml_text import read_yaml
from paceline.errors import ConfigError


def study_of(folder: Path, runs: list[dict[str, Any]], flag: str | None = None, **fields: Any) -> Study:
    path = folder / "s.yaml"
    content = {"recipe": {"base": "b", "data": "d"}, **fields, "runs": runs}
    path.write_text(yaml.safe_dump(content, sort_keys=False))
    return load_study(path, seeds=parse_seeds(flag))


def shape(study: Study) -> list[tuple[str, str, int]]:
    return [(run.name, run.recipe_name, run.recipe.seed) for run in study.runs]


LOW, HIGH = {"name": "low"}, {"name": "high", "lr": 1e-3}


def test_a_study_without_seeds_has_one_run_a_recipe(tmp_path: Path) -> None:
    assert shape(study_of(tmp_path, [LOW, HIGH])) == [("low", "low", 42), ("high", "high", 42)]


def test_a_count_goes_on_from_the_recipes_own_seed(tmp_path: Path) -> None:
    study = study_of(tmp_path, [LOW, {**HIGH, "seed": 7}], seeds=2)
    assert shape(study) == [
        ("low", "low", 42),
        ("low-seed43", "low", 43),
        ("high", "high", 7),
        ("high-seed8", "high", 8),
    ]
    assert {name: len(runs) for name, runs in study.recipes.items()} == {"low": 2, "high": 2}


def test_the_first_replicate_is_the_run_of_a_study_without_seeds(tmp_path: Path) -> None:
    alone = study_of(tmp_path, [LOW, {**HIGH, "init_from": "low", "seed": 43}])
    replicated = study_of(tmp_path, [LOW, {**HIGH, "init_from": "low", "seed": 43}], seeds=3)
    assert [run for run in replicated.runs if not run.replicate_of] == alone.runs


def test_replicates_differ_in_the_seed_alone(tmp_path: Path) -> None:
    first, second = study_of(tmp_path, [LOW], seeds=[5, 1]).runs
    assert second.recipe.model_copy(update={"seed": 5}) == first.recipe
    assert (first.recipe.seed, second.name) == (5, "low-seed1")


def test_a_runs_seeds_win_over_the_studys(tmp_path: Path) -> None:
    study = study_of(tmp_path, [{**LOW, "seeds": 1}, HIGH], seeds=[1, 2])
    assert [run.name for run in study.runs] == ["low", "high", "high-seed2"]


def test_noise_replicates_the_baseline_alone(tmp_path: Path) -> None:
    study = study_of(tmp_path, [LOW, HIGH, {"name": "own", "seeds": 2}], noise=3)
    assert {name: len(runs) for name, runs in study.recipes.items()} == {"low": 3, "high": 1, "own": 2}


def test_the_flag_takes_the_place_of_all(tmp_path: Path) -> None:
    study = study_of(tmp_path, [LOW, {**HIGH, "seeds": 5}], "4,5", noise=3)
    assert shape(study) == [
        ("low", "low", 4),
        ("low-seed5", "low", 5),
        ("high", "high", 4),
        ("high-seed5", "high", 5),
    ]


def test_resampling_leaves_the_first_replicate_as_it_is(tmp_path: Path) -> None:
    study = study_of(tmp_path, [LOW], seeds={"count": 3, "resample": True})
    assert [run.recipe.data.resample for run in study.runs] == [None, 43, 44]


def test_a_replicate_starts_from_its_parents_replicate_of_the_same_seed(tmp_path: Path) -> None:
    child = {"name": "child", "init_from": "low"}
    study = study_of(tmp_path, [{**LOW, "seeds": 2}, {**child, "seeds": 3}])
    parents = {run.name: run.recipe.init_from for run in study.runs if run.recipe_name == "child"}
    assert parents == {"child": "low", "child-seed43": "low-seed43", "child-seed44": "low"}
    study = study_of(tmp_path, [{**LOW, "seeds": [1, 2]}, {**child, "seeds": [2, 1]}])
    parents = {run.name: run.recipe.init_from for run in study.runs if run.recipe_name == "child"}
    assert parents == {"child": "low-seed2", "child-seed1": "low"}


def test_a_rehearsal_keeps_the_replicates(tmp_path: Path) -> None:
    study = study_of(tmp_path, [LOW, HIGH], seeds=2)
    assert shape(rehearsal(study)) == shape(study)


def test_a_rehearsal_leaves_rows_to_draw_from(tmp_path: Path) -> None:
    rehearsed = rehearsal(study_of(tmp_path, [LOW], seeds={"count": 2, "resample": True}))
    assert {run.recipe.data.n for run in rehearsed.runs} == {180}


@pytest.mark.parametrize(
    ("seeds", "said"),
    [
        (0, "at least one seed"),
        (-2, "at least one seed"),
        (True, "expected a count"),
        ("three", "expected a count"),
        (2.5, "expected a count"),
        (None, "expected a count"),
        ([], "empty list"),
        ([1, 1], "1 twice"),
        ([1, -1], "-1; a seed is a whole number"),
        ([1, "2"], "'2'; a seed is a whole number"),
        ({"count": 0}, "seeds.count is 0"),
        ({"resample": True}, "seeds.count is None"),
        ({"count": 2, "resample": 5}, "seeds.resample is 5"),
        ({"count": 2, "seed": 5}, "no field 'seed'"),
    ],
)
def test_seeds_that_make_no_sense_are_refused_with_the_run(tmp_path: Path, seeds: Any, said: str) -> None:
    for study in ({"seeds": seeds}, {}):
        runs = [LOW, {**HIGH, **({} if study else {"seeds": seeds})}]
        with pytest.raises(ConfigError, match=r"s\.yaml: run \d \((low|high)\): .*") as error:
            study_of(tmp_path, runs, **study)
        assert said in str(error.value)


@pytest.mark.parametrize(
    ("runs", "fields", "said"),
    [
        ([LOW], {"seeds": 2, "noise": 2}, "both seeds and noise"),
        ([{**LOW, "seeds": 2}], {"noise": 2}, "seeds beside the study's noise"),
        ([LOW], {"noise": 1}, "at least 2 seeds"),
        ([LOW], {"noise": [1, 2]}, "noise is \\[1, 2\\]"),
        ([{**LOW, "seed": 3}], {"seeds": [1, 2]}, "seed 3 beside a list of seeds"),
        ([LOW], {"seeds": [1, 2], "recipe": {"base": "b", "data": "d", "seed": 3}}, "beside a list"),
        ([LOW, {"name": "low-seed43"}], {"seeds": 2}, "'low-seed43' is used twice"),
    ],
)
def test_contradictions_are_refused(tmp_path: Path, runs: Any, fields: Any, said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        study_of(tmp_path, runs, **fields)


@pytest.mark.parametrize("text", ["", "x", "1,,2", "0", "1,1", "[]"])
def test_flags_that_make_no_sense_are_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="seeds"):
        parse_seeds(text)


def test_a_recipe_file_has_no_seeds(tmp_path: Path) -> None:
    (tmp_path / "r.yaml").write_text("base: b\ndata: d\nseeds: 3\n")
    with pytest.raises(ConfigError, match="seeds belongs in a study"):
        resolve_recipe(tmp_path / "r.yaml")


@pytest.mark.parametrize("flag", ["2", "5,7"])
@pytest.mark.parametrize("fields", [{}, {"noise": 3}, {"seeds": 4}])
def test_a_file_with_the_flags_seeds_is_the_study_with_the_flag(
    tmp_path: Path, flag: str, fields: dict[str, Any]
) -> None:
    """What is sent to another machine trains what the flag would have trained here."""
    runs = [LOW if "noise" in fields else {**LOW, "seeds": [1, 2]}, HIGH]
    seeds = parse_seeds(flag)
    assert seeds is not None
    study = study_of(tmp_path, runs, flag, **fields)
    (tmp_path / "s.yaml").write_text(yaml.safe_dump(with_seeds(read_yaml(tmp_path / "s.yaml"), seeds)))
    assert load_study(tmp_path / "s.yaml") == study


def test_a_recipe_file_or_a_study_file_with_seeds_is_a_study_of_replicates(tmp_path: Path) -> None:
    """What `check`, `plan` and `rehearse` read with --seeds."""
    (tmp_path / "r.yaml").write_text("base: b\ndata: d\n")
    expected = [("r", "r", 42), ("r-seed43", "r", 43)]
    assert shape(as_study(tmp_path / "r.yaml", parse_seeds("2"))) == expected
    study_of(tmp_path, [LOW, HIGH])
    assert [name for name, _, _ in shape(as_study(tmp_path / "s.yaml", parse_seeds("1,3")))] == [
        "low",
        "low-seed3",
        "high",
        "high-seed3",
    ]
