"""Recipes from presets, files and flags."""

from pathlib import Path
from typing import Any

import pytest

from paceline.config.load import (
    dump_recipe,
    load_recipe,
    make_recipe,
    resolve_recipe,
)
from paceline.config.yaml_text import parse_yaml, read_yaml
from paceline.errors import ConfigError

SMALLEST = {"base": "b", "data": "d.jsonl"}


def test_a_flag_beats_the_file_and_the_file_beats_the_preset(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("preset: small-batch\nbase: b\ndata: {source: d, n: 10}\nlr: 3e-5\nlora_r: 8\n")
    made = load_recipe(path, {"lora_r": 4, "data": {"n": 20}})
    assert (made.batch_size, made.lr, made.lora_r, made.data.source, made.data.n) == (2, 3e-5, 4, "d", 20)


def test_names_of_other_tools_take_part_in_the_precedence(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("base: b\ndata: d\nlearning_rate: 3e-5\nlora_rank: 8\nload_in_4bit: true\n")
    made = load_recipe(path, {"lr": 1e-4, "load_in_8bit": True})
    assert (made.lr, made.lora_r, made.quantize) == (1e-4, 8, "int8")


def test_a_preset_that_is_given_replaces_the_files(tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text("preset: small-batch\nbase: b\ndata: d\n")
    assert resolve_recipe(path, "high-capacity").recipe.lora_r == 32


def test_what_is_dumped_is_read_back_the_same(tmp_path: Path) -> None:
    fields = {"lr": 1e-5, "target_modules": "x.*y", "adam_epsilon": 1e-8, "warmup_steps": 0}
    made = make_recipe({**SMALLEST, **fields}, "r")
    (tmp_path / "r.yaml").write_text(dump_recipe(made))
    assert resolve_recipe(tmp_path / "r.yaml") == (made, ())


def test_a_setting_that_changes_nothing_is_said() -> None:
    notes = resolve_recipe(flags={**SMALLEST, "power": 2.0, "bf16": True}).notes
    assert [note.split(" has no effect")[0] for note in notes] == ["power 2.0", "compute_dtype bfloat16"]
    assert resolve_recipe(flags={**SMALLEST, "quantize": "nf4", "bf16": True}).notes == ()


@pytest.mark.parametrize(
    ("text", "message"), [("a: [\n", "line 2: not valid YAML"), ("- a", "expected a mapping")]
)
def test_a_file_that_is_no_mapping_is_refused(tmp_path: Path, text: Any, message: Any) -> None:
    (tmp_path / "r.yaml").write_text(text)
    with pytest.raises(ConfigError, match=message):
        read_yaml(tmp_path / "r.yaml")


def test_numbers_in_scientific_notation_are_numbers() -> None:
    assert parse_yaml("[2e-5, 1.5e3, 2e5]") == [2e-5, 1500.0, 2e5]


@pytest.mark.parametrize(
    "fields",
    [
        {name: value}
        for name in ("max_length", "max_steps", "batch_size", "grad_accum", "lora_r", "seed", "lr", "epochs")
        for value in (float("nan"), float("inf"), -1, 10**30 if name != "lr" else 10**40)
    ]
    + [
        {"rank_pattern": {"q_proj": 10**6}},
        {"alpha_pattern": {"q_proj": 10**30}},
        {"layers_to_transform": [10**30]},
        {"trainable_token_indices": [10**30]},
        {"batch_size": {"start": 1, "end": 10**30, "steps": 1}},
        {"data": {"source": "d", "n": 10**30}},
        {"data": {"source": "d", "max_bad_rows": 10**30}},
        {"data": {"source": "d", "max_bad_rows": "nan%"}},
        {"eval": {"code": {"n": 10**30}}},
        {"eval": {"mtbench": {"judge_price": "nan,1"}}},
    ],
    ids=str,
)
def test_numbers_beyond_all_sense_are_refused_in_one_line(fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe({**SMALLEST, **fields}, "recipe.yaml")
    assert str(caught.value).startswith("recipe.yaml: field ")
    assert "\n" not in str(caught.value)
