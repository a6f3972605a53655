"""Recipes and studies from presets, files and flags."""

import pytest

from paceline.config.load import dump_recipe, load_recipe, load_study, make_recipe, merge, preset_fields
from paceline.config.presets import PRESETS
from paceline.errors import PacelineError

SMALLEST = {"base": "b", "data": "d.jsonl"}


@pytest.mark.parametrize(
    ("name", "batch_size", "grad_accum", "lr", "warmup", "r", "alpha", "dropout"),
    [
        ("small-batch", 2, 2, 2e-5, 0.1, 16, 32, 0.1),
        ("aggressive-lr", 4, 4, 5e-5, 0.2, 16, 32, 0.05),
        ("high-capacity", 4, 4, 2e-5, 0.1, 32, 64, 0.1),
        ("baseline", 4, 4, 2e-5, 0.1, 16, 32, 0.05),
        ("conservative-lr", 4, 4, 1e-5, 0.1, 16, 32, 0.05),
        ("guide", 4, 4, 2e-4, 0.1, 16, 32, 0.05),
    ],
)
def test_presets_are_the_published_ones(name, batch_size, grad_accum, lr, warmup, r, alpha, dropout):
    made = make_recipe(merge(PRESETS[name], SMALLEST), name)
    assert (made.batch_size, made.grad_accum, made.lr, made.warmup_ratio) == (
        batch_size,
        grad_accum,
        lr,
        warmup,
    )
    assert (made.lora_r, made.lora_alpha, made.lora_dropout, made.lr_scheduler) == (
        r,
        alpha,
        dropout,
        "cosine",
    )
    assert made.epochs == (2 if name == "conservative-lr" else 1)


def test_a_flag_beats_the_file_and_the_file_beats_the_preset(tmp_path):
    path = tmp_path / "r.yaml"
    path.write_text("preset: small-batch\nbase: b\ndata: {source: d, n: 10}\nlr: 3e-5\nlora_r: 8\n")
    made = load_recipe(path, {"lora_r": 4, "data": {"n": 20}})
    assert (made.batch_size, made.lr, made.lora_r, made.data.source, made.data.n) == (2, 3e-5, 4, "d", 20)


def test_what_is_dumped_is_read_back_the_same(tmp_path):
    made = make_recipe(
        {**SMALLEST, "lr": 1e-5, "target_modules": "x.*y", "adam_epsilon": 1e-8, "warmup_steps": 0}, "r"
    )
    (tmp_path / "r.yaml").write_text(dump_recipe(made))
    assert load_recipe(tmp_path / "r.yaml") == made


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"learning_rat": 1}, "unknown field 'learning_rat'"),
        ({"lora_rank": 8}, "unknown field 'lora_rank', did you mean 'lora_r'?"),
        ({"data": {"source": "d", "sed": 1}}, "unknown field 'data.sed', did you mean 'seed'?"),
        ({"lora_r": 0}, "field 'lora_r' is 0: input should be greater than 0"),
        ({"lora_alpha": -1}, "field 'lora_alpha' is -1: input should be greater than 0"),
        ({"lora_dropout": 1.0}, "field 'lora_dropout' is 1.0: input should be less than 1"),
        ({"lr_scheduler": "cosin"}, "field 'lr_scheduler' is 'cosin': input should be 'cosine', 'linear'"),
        ({"load_best": True}, "load_best needs eval_steps"),
        ({"base": None}, "field 'base' is None"),
    ],
)
def test_bad_fields_are_named_in_one_line(fields, said):
    with pytest.raises(PacelineError) as caught:
        make_recipe({**SMALLEST, **fields}, "recipe.yaml")
    assert str(caught.value).startswith(f"recipe.yaml: {said}")
    assert "\n" not in str(caught.value)


def test_a_missing_field_says_how_to_give_it():
    with pytest.raises(PacelineError, match=r"field 'base' is missing; give it in the file or as --base"):
        make_recipe({"data": "d"}, "recipe")


def test_an_unknown_preset_names_the_nearest():
    with pytest.raises(PacelineError, match="unknown preset 'small_batch', did you mean 'small-batch'"):
        preset_fields("small_batch")


STUDY = """
study: s
recipe: {base: b, data: d, lr: 1e-4}
runs:
  - {name: first, lora_r: 8}
  - {name: second, preset: small-batch, hypothesis: noise helps}
  - {name: third, lr: 2e-4}
"""


def test_runs_are_differences_from_the_first(tmp_path):
    path = tmp_path / "s.yaml"
    path.write_text(STUDY)
    study = load_study(path)
    first, second, third = (run.recipe for run in study.runs)
    assert (first.lora_r, second.lora_r, third.lora_r) == (8, 16, 8)
    assert (second.batch_size, second.lr, third.lr) == (2, 2e-5, 2e-4)
    assert study.differences(study.runs[2]) == {"lr": (1e-4, 2e-4)}
    assert study.runs[1].hypothesis == "noise helps"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("runs: []", "`runs` must be a list"),
        ("runs: [{base: b, data: d}]", "run 1 (no name): a run needs a `name`"),
        ("runs: [{name: ../x, base: b, data: d}]", "it names its directory"),
        ("runs: [{name: a, base: b, data: d}, {name: a}]", "run name 'a' is used twice"),
        ("objectiv: x\nruns: [{name: a}]", "unknown field 'objectiv', did you mean 'objective'?"),
        (
            "runs: [{name: a, base: b, data: d, lora_rr: 3}]",
            "unknown field 'lora_rr', did you mean 'lora_r'?",
        ),
        ("runs: [\n", "line 2: not valid YAML"),
        ("- a", "expected a mapping"),
    ],
)
def test_a_bad_study_is_refused_in_one_line(tmp_path, text, said):
    path = tmp_path / "s.yaml"
    path.write_text(text)
    with pytest.raises(PacelineError) as caught:
        load_study(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
