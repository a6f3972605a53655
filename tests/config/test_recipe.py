"""A recipe refuses what makes no sense, in one line that names the field."""

from pathlib import Path
from typing import Any

import pytest

from paceline.config.load import dump_recipe, load_recipe, make_recipe
from paceline.errors import ConfigError

SMALLEST = {"base": "b", "data": "d.jsonl"}


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"learning_rat": 1}, "unknown field 'learning_rat', did you mean 'learning_rate'?"),
        ({"lora_rak": 8}, "unknown field 'lora_rak', did you mean 'lora_rank'?"),
        ({"data": {"source": "d", "sed": 1}}, "unknown field 'data.sed', did you mean 'seed'?"),
        (
            {"data": {"source": "d", "mix": [{"ratio": 1, "subst": "x"}]}},
            "unknown field 'data.mix.0.subst', did you mean 'subset'?",
        ),
        ({"lora_r": 0}, "field 'lora_r' is 0: input should be greater than 0"),
        ({"lora_alpha": -1}, "field 'lora_alpha' is -1: input should be greater than 0"),
        ({"lora_dropout": 1.0}, "field 'lora_dropout' is 1.0: input should be less than 1"),
        ({"num_cycles": 0}, "field 'num_cycles' is 0: input should be greater than 0"),
        (
            {"lr_scheduler": "cosin"},
            "field 'lr_scheduler' is 'cosin': no such schedule, did you mean 'cosine'?",
        ),
        ({"load_best": True}, "load_best needs eval_steps"),
        (
            {"data": {"source": "d", "packing": True, "columns": {"weight": "w"}}},
            "field 'data' is {'source': 'd', 'packing': True, 'columns': {'weight': 'w'}}: packing joins",
        ),
        ({"base": None}, "field 'base' is None"),
        ({"batch_size": 0}, "field 'batch_size' is 0: input should be greater than 0"),
        ({"batch_size": {"start": 4, "end": 2, "steps": 9}}, "field 'batch_size' is"),
        ({"batch_size": {"start": 4, "end": 8}}, "field 'batch_size.steps' is missing"),
        (
            {"batch_size": {"start": 4, "end": 8, "step": 3}},
            "unknown field 'batch_size.step', did you mean 'steps'?",
        ),
        (
            {"compute_dtype": "float16"},
            "compute_dtype float16 (fp16) is for bases that are quantized to 4 bits",
        ),
        ({"phases": {"a": 3}}, "field 'phases.a' is 3"),
    ],
)
def test_bad_fields_are_named_in_one_line(fields: Any, message: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        make_recipe({**SMALLEST, **fields}, "recipe.yaml")
    assert str(caught.value).startswith(f"recipe.yaml: {message}")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"base": "b"}, r"no data is named; .* as --data, or in the file as `data`"),
        ({"base": "b", "data": {"n": 10_000}}, r"no data is named; .* as --data"),
    ],
)
def test_a_missing_field_says_how_to_give_it(fields: Any, message: Any) -> None:
    with pytest.raises(ConfigError, match=message):
        make_recipe(fields, "recipe")


def test_a_growing_batch_counts_as_what_it_becomes() -> None:
    made = make_recipe({**SMALLEST, "batch_size": {"start": 2, "end": 8, "steps": 10}, "grad_accum": 3}, "r")
    assert (made.final_batch_size, made.effective_batch) == (8, 24)


def test_a_growing_batch_is_written_and_read_back(tmp_path: Path) -> None:
    made = make_recipe({**SMALLEST, "batch_size": {"start": 2, "end": 8, "steps": 10}}, "r")
    (tmp_path / "r.yaml").write_text(dump_recipe(made))
    assert load_recipe(tmp_path / "r.yaml") == made


def test_a_schedule_of_ones_own_is_a_name_and_imports_nothing() -> None:
    assert (
        make_recipe({**SMALLEST, "lr_scheduler": "no.such.module:f"}, "r").lr_scheduler == "no.such.module:f"
    )


def test_an_expression_is_of_the_dialect_by_which_linears_are_matched() -> None:
    made = make_recipe({**SMALLEST, "target_modules": r"model\.(?|layers|blocks)\..*_\p{L}roj"}, "r.yaml")
    assert made.target_modules == r"model\.(?|layers|blocks)\..*_\p{L}roj"
