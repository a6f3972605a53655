"""A study's runs: preset < the study's recipe < run < flag, and later runs as differences from the first."""

import itertools
from pathlib import Path
from typing import Any

import pytest
import yaml

from paceline.config import presets
from paceline.config.load import load_study
from paceline.errors import ConfigError

STUDIES = Path(__file__).parents[2] / "studies"


@pytest.fixture
def load(tmp_path: Path) -> Any:
    def write_and_load(text: Any, flags: Any = None) -> Any:
        path = tmp_path / "s.yaml"
        path.write_text(text if isinstance(text, str) else yaml.safe_dump(text, sort_keys=False))
        return load_study(path, flags)

    return write_and_load


def test_runs_are_differences_from_the_first(load: Any) -> None:
    study = load("""
study: s
recipe: {base: b, data: d, lr: 1e-4}
runs:
  - {name: first, lora_r: 8}
  - {name: second, preset: small-batch, hypothesis: noise helps}
  - {name: third, lr: 2e-4}
""")
    first, second, third = (run.recipe for run in study.runs)
    assert (first.lora_r, second.lora_r, third.lora_r) == (8, 16, 8)
    assert (second.batch_size, second.lr, third.lr) == (2, 1e-4, 2e-4)
    assert study.differences(study.runs[2]) == {"lr": (1e-4, 2e-4)}
    assert study.runs[1].hypothesis == "noise helps"


LAYERS = ("baseline_preset", "recipe", "baseline", "run_preset", "run", "flag")
DEFAULT = 16


def expected(given: Any) -> Any:
    """The rule of docs/studies.md, written as who is asked first."""
    order: tuple[str, ...]
    if given["run_preset"]:
        order = ("flag", "run", "recipe", "run_preset")
    else:
        order = ("flag", "run", "baseline", "recipe", "baseline_preset")
    return next((LAYERS.index(layer) + 1 for layer in order if given[layer]), DEFAULT)


@pytest.mark.parametrize("present", list(itertools.product([False, True], repeat=len(LAYERS))))
def test_every_combination_of_layers(load: Any, monkeypatch: pytest.MonkeyPatch, present: Any) -> None:
    given = dict(zip(LAYERS, present, strict=True))
    value = {name: {"lora_r": LAYERS.index(name) + 1} if on else {} for name, on in given.items()}
    monkeypatch.setitem(presets.PRESETS, "p-first", {"lr": 1e-4, **value["baseline_preset"]})
    monkeypatch.setitem(presets.PRESETS, "p-run", value["run_preset"])
    preset = {"preset": "p-run"} if given["run_preset"] else {}
    study = load(
        {
            "recipe": {"base": "b", "data": "d", **value["recipe"]},
            "runs": [
                {"name": "first", "preset": "p-first", **value["baseline"]},
                {"name": "later", **preset, **value["run"]},
            ],
        },
        value["flag"],
    )
    assert study.runs[1].recipe.lora_r == expected(given)
    of_first = next((n for n in ("flag", "baseline", "recipe", "baseline_preset") if given[n]), None)
    assert study.runs[0].recipe.lora_r == (LAYERS.index(of_first) + 1 if of_first else DEFAULT)
    assert study.runs[1].recipe.lr == (2e-4 if preset else 1e-4), "a preset takes the place of the baseline's"


def test_what_the_baseline_writes_itself_holds_beside_a_preset_that_does_not_set_it(load: Any) -> None:
    study = load("""
recipe: {base: b, data: d, max_length: 1024}
runs:
  - {name: first, max_length: 2048, lora_r: 8, data: {n: 10}}
  - {name: later, preset: small-batch, data: {seed: 1}}
""")
    later = study.runs[1].recipe
    assert (later.max_length, later.lora_r, later.data.n, later.data.seed) == (2048, 16, 10, 1)


def test_names_of_other_tools_are_fields_of_a_study_too(load: Any) -> None:
    study = load("""
recipe: {model: b, data: d, learning_rate: 1e-4, use_cache: false, num_cycles: 3}
runs: [{name: a, gradient_accumulation_steps: 2}, {name: b, lr: 2e-4, use_cache: false}]
""")
    assert [(run.recipe.lr, run.recipe.grad_accum) for run in study.runs] == [(1e-4, 2), (2e-4, 2)]
    assert [note.split(" ")[0] for note in study.notes] == ["use_cache:", "run", "run"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("runs: []", "`runs` must be a list"),
        ("runs: [{base: b, data: d}]", "run 1 (no name): a run needs a `name`"),
        ("runs: [{name: ../x, base: b, data: d}]", "run name '../x' is a path; it names one directory"),
        ("runs: [{name: a, base: b, data: d}, {name: a}]", "run name 'a' is used twice"),
        ("runs: [{name: a, base: b, data: d, init_from: b}, {name: b}]", "must stand before it in the file"),
        ("objectiv: x\nruns: [{name: a}]", "unknown field 'objectiv', did you mean 'objective'?"),
        (
            "runs: [{name: a, base: b, data: d, lora_rr: 3}]",
            "unknown field 'lora_rr', did you mean 'lora_r'?",
        ),
        ("runs: [{name: a, base: b, data: d, preset: smal}]", "run 1 (a): unknown preset 'smal'"),
        ("recipe: {preset: guide}\nruns: [{name: a}]", "a preset is named by a run"),
        ("recipe: {lr: 1, learning_rate: 2}\nruns: [{name: a}]", "recipe: lr is 1 and learning_rate is 2"),
    ],
)
def test_a_bad_study_is_refused_in_one_line(load: Any, text: Any, message: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        load(text)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# file, run -> what its write-up says
PUBLISHED = {
    ("qwen3-0.6b-rust", "exp-qwen3-0.6b-5k"): {
        "data.n": 5000,
        "epochs": 1,
        "batch_size": 2,
        "grad_accum": 2,
        "lr": 2e-5,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
        "max_length": 2048,
        "lr_scheduler": "cosine",
    },
    ("qwen3-0.6b-rust", "exp-qwen3-0.6b-20k-r32-1024-a100"): {
        "data.n": 20000,
        "epochs": 1,
        "batch_size": 2,
        "grad_accum": 2,
        "lr": 2e-5,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
        "max_length": 1024,
        "lr_scheduler": "cosine",
    },
    ("qwen3-0.6b-rust", "exp-qwen3-0.6b-20k-2ep-restarts"): {
        "data.n": 20000,
        "epochs": 2,
        "batch_size": 2,
        "grad_accum": 2,
        "lr": 2e-5,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
        "max_length": 1024,
        "lr_scheduler": "cosine_with_restarts",
        "warmup_ratio": 0.1,
    },
    **{
        ("qwen3-0.6b-rust-next", run): {
            "data.n": 20000,
            "epochs": 4 if run == "four-epochs" else 2,
            "batch_size": 2,
            "grad_accum": 2,
            "lora_r": 32,
            "lora_alpha": 64,
            "lora_dropout": 0.1,
            "max_length": 1024,
            "lr_scheduler": "cosine_with_restarts",
            "num_cycles": "epochs",
        }
        for run in (
            "two-epochs",
            "four-epochs",
            "easy-first",
            "phase-1-understanding",
            "phase-2-annotation",
            "phase-3-generation",
            "cleaned",
            "distilled",
        )
    },
    ("rust-five-recipes", "exp-baseline-10k"): {
        "epochs": 1,
        "lr": 2e-5,
        "batch_size": 4,
        "grad_accum": 4,
        "warmup_ratio": 0.1,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    },
    ("rust-five-recipes", "exp-conservative-lr-10k"): {
        "epochs": 2,
        "lr": 1e-5,
        "batch_size": 4,
        "grad_accum": 4,
        "warmup_ratio": 0.1,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    },
    ("rust-five-recipes", "exp-high-capacity-10k"): {
        "epochs": 1,
        "lr": 2e-5,
        "batch_size": 4,
        "grad_accum": 4,
        "warmup_ratio": 0.1,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
    },
    ("rust-five-recipes", "exp-aggressive-lr-10k"): {
        "epochs": 1,
        "lr": 5e-5,
        "batch_size": 4,
        "grad_accum": 4,
        "warmup_ratio": 0.2,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
    },
    ("rust-five-recipes", "exp-small-batch-10k"): {
        "epochs": 1,
        "lr": 2e-5,
        "batch_size": 2,
        "grad_accum": 2,
        "warmup_ratio": 0.1,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.1,
    },
    ("rust-five-recipes", "exp-small-batch-5k"): {
        "base": "Qwen/Qwen3-4B-Instruct-2507",
        "data.n": 5000,
        "batch_size": 2,
        "grad_accum": 2,
        "lora_dropout": 0.1,
    },
    ("codeforces-guide", "train-qwen3-sft"): {
        "lr": 2e-4,
        "batch_size": 4,
        "grad_accum": 4,
        "lora_r": 16,
        "lora_alpha": 32,
        "lora_dropout": 0.05,
        "gradient_checkpointing": True,
        "save_steps": 100,
    },
    ("qlora-rescue", "failed"): {
        "batch_size": 1,
        "grad_accum": 8,
        "max_steps": 500,
        "lr": 5e-5,
        "quantize": "nf4-double",
        "eval_steps": 150,
        "lr_scheduler": "cosine",
        "data.n": 50000,
    },
    ("qlora-rescue", "approach-1-conservative"): {
        "batch_size": 2,
        "grad_accum": 16,
        "max_steps": 2000,
        "lr": 1e-4,
        "warmup_steps": 200,
        "eval_steps": 500,
        "save_steps": 500,
        "logging_steps": 25,
        "max_grad_norm": 1.0,
        "lr_scheduler": "cosine",
    },
    ("qlora-rescue", "approach-2-aggressive"): {
        "batch_size": 4,
        "grad_accum": 16,
        "max_steps": 5000,
        "lr": 2e-4,
        "warmup_steps": 500,
        "weight_decay": 0.01,
        "max_grad_norm": 1.0,
    },
    ("qlora-rescue", "approach-3-int8"): {
        "quantize": "int8",
        "llm_int8_threshold": 6.0,
        "lora_r": 32,
        "lora_alpha": 64,
        "lora_dropout": 0.1,
        "use_rslora": True,
        "target_modules": ["q_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
    },
    ("qwen3-1.7b-twix", "qwen3_1p7b_exp1_aggressive"): {
        "data.subset": "general",
        "data.sample_ratio": 0.25,
        "epochs": 1,
        "batch_size": 8,
        "grad_accum": 16,
        "max_length": 768,
        "lr": 5e-5,
        "lora_r": 16,
        "lora_alpha": 32,
        "kl.coef": 0.0,
    },
    ("qwen3-1.7b-twix", "qwen3_1p7b_exp4_mix_reasoning20"): {
        "data.subset": "both",
        "data.mix_reasoning_ratio": 0.2,
        "data.sample_ratio": 0.25,
        "lr": 1e-5,
        "lora_r": 8,
        "lora_alpha": 16,
        "kl.coef": 0.03,
        "kl.start_step": 200,
        "kl.warmup_steps": 300,
        "kl.tail": 128,
    },
    ("qwen3-1.7b-twix", "qwen3_1p7b_s1_gentle"): {
        "data.subset": "general",
        "data.sample_ratio": 0.1,
        "epochs": 2,
        "max_length": 512,
        "lr": 1e-5,
        "kl.coef": 0.02,
        "kl.start_step": 150,
        "kl.warmup_steps": 300,
    },
    ("qwen3-1.7b-twix", "qwen3_1p7b_s3_tune_b12ga11"): {
        "batch_size": 12,
        "grad_accum": 11,
        "lr": 1.2e-5,
        "kl.coef": 0.035,
        "kl.warmup_steps": 400,
        "eval.mtbench.during.steps": 200,
        "eval.mtbench.during.patience": 2,
        "eval.mtbench.judge": "reward",
        "epochs": 1,
    },
    ("qwen3-1.7b-twix", "qwen3_1p7b_s4_e2_mix20_kl003_lr1e-5_b12ga11"): {
        "batch_size": 12,
        "grad_accum": 11,
        "lr": 1e-5,
        "kl.coef": 0.03,
        "kl.warmup_steps": 400,
        "epochs": 2,
        "max_length": 512,
    },
}


@pytest.mark.parametrize(("file", "run"), PUBLISHED, ids=lambda part: part)
def test_the_studies_say_what_their_write_ups_say(file: Any, run: Any) -> None:
    study = load_study(STUDIES / f"{file}.yaml")
    (recipe,) = (candidate.recipe for candidate in study.runs if candidate.name == run)
    for field, value in PUBLISHED[file, run].items():
        got = recipe
        for name in field.split("."):
            got = getattr(got, name)
        assert got == value, field


@pytest.mark.parametrize("path", sorted(STUDIES.glob("*.yaml")), ids=lambda path: path.stem)
def test_no_setting_of_a_study_is_idle(path: Any) -> None:
    assert load_study(path).notes == ()


def test_the_demo_holds_an_equal_pair() -> None:
    """`again` is the baseline but for its seeds; every recipe has three."""
    study = load_study(STUDIES.parent / "examples" / "demo.yaml")
    first, again = ([run for run in study.runs if run.recipe_name == name] for name in ("baseline", "again"))
    assert {len(own) for own in study.recipes.values()} == {3}
    assert not {run.recipe.seed for run in first} & {run.recipe.seed for run in again}
    without = [run.recipe.model_copy(update={"seed": 0}) for run in (*first, *again)]
    assert all(recipe == without[0] for recipe in without)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("objective: 5", "objective must be a text, not 5"),
        ("published: [1]", "`published` must be a mapping"),
        ("success: perplexity < nan", "perplexity < nan: a success criterion has a number"),
        ("runs: [{name: a, base: b, data: d, hypothesis: [x]}]", "hypothesis must be a text"),
        ("runs: [{name: a, base: b, data: d, preset: [x]}]", "preset must be the name of one"),
        ("runs: [{name: a, base: b, data: d, optim: [x]}]", "field 'optim' is ['x']"),
        ("runs: [{name: a, base: b, data: {source: d, max_bad_rows: [x]}}]", "a share such as 5%"),
    ],
)
def test_a_field_of_another_type_is_refused_in_one_line(tmp_path: Path, line: str, said: str) -> None:
    runs = "" if line.startswith("runs") else "runs: [{name: a, base: b, data: d}]\n"
    (tmp_path / "s.yaml").write_text(f"{runs}{line}\n")
    with pytest.raises(ConfigError) as caught:
        load_study(tmp_path / "s.yaml")
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
