"""The write-ups' command lines mean after `paceline train` what they meant to the scripts of their authors.

Those scripts had their base and data built in; here both stand in a recipe file that is named first.
"""

import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from paceline.cli import main as cli
from paceline.config import load
from paceline.config.yaml_text import read_yaml


class Stop(BaseException):
    """Raised in place of training."""


@pytest.fixture
def recipe_of(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """command line -> (recipe, notes), by the command itself up to the training."""
    (tmp_path / "recipe.yaml").write_text("base: Qwen/Qwen3-0.6B\ndata: t-tech/T-Wix\n")
    resolve, resolved = load.resolve_recipe, []

    def resolve_and_stop(*arguments: Any, **options: Any) -> None:
        resolved.append(resolve(*arguments, **options))
        raise Stop

    monkeypatch.setattr(load, "resolve_recipe", resolve_and_stop)

    def run(line: Any) -> Any:
        monkeypatch.setattr(sys, "argv", ["paceline", "train", str(tmp_path / "recipe.yaml"), *line.split()])
        with pytest.raises(Stop):
            cli.main()
        return resolved.pop()

    return run


def values(recipe: Any, fields: Any) -> Any:
    """The recipe's values of dotted fields."""
    picked = {}
    for field in fields:
        value = recipe
        for name in field.split("."):
            value = getattr(value, name)
        picked[field] = value
    return picked


# The command lines of the Russian reproduction plan, by the name of their run; each begins and ends alike.
QUESTIONS = "--mtbench_ru auto --mtbench_questions_limit 0 --mtbench_temperature 0.0"
REASONING = "--subset both --mix_reasoning_ratio 0.2 --sample_ratio 0.25"
RUSSIAN = {
    "qwen3_1p7b_exp1_aggressive": f"--subset general --sample_ratio 0.25 --epochs 1 --batch 8 --grad_acc 16 --max_seq_length 768 --learning_rate 5e-5 --lora_r 16 --lora_alpha 32 --kl_coef 0.0 {QUESTIONS}",
    "qwen3_1p7b_exp2_conservative_full": f"--subset general --sample_ratio 1.0 --epochs 1 --batch 8 --grad_acc 16 --max_seq_length 768 --learning_rate 1e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.0 {QUESTIONS}",
    "qwen3_1p7b_exp3_kl002_g025": f"--subset general --sample_ratio 0.25 --epochs 1 --batch 8 --grad_acc 16 --max_seq_length 768 --learning_rate 1e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.02 --kl_start_step 150 --kl_warmup_steps 1 --kl_limit_seq 128 {QUESTIONS}",
    "qwen3_1p7b_exp4_mix_reasoning20": f"{REASONING} --epochs 1 --batch 8 --grad_acc 16 --max_seq_length 768 --learning_rate 1e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.03 --kl_start_step 200 --kl_warmup_steps 300 --kl_limit_seq 128 {QUESTIONS}",
    "qwen3_1p7b_s1_gentle": f"--subset general --sample_ratio 0.10 --epochs 2 --batch 8 --grad_acc 16 --max_seq_length 512 --learning_rate 1e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.02 --kl_start_step 150 --kl_warmup_steps 300 --kl_limit_seq 128 {QUESTIONS} --mtbench_backend simple",
    "qwen3_1p7b_s2_mix20": f"{REASONING} --epochs 1 --batch 8 --grad_acc 16 --max_seq_length 512 --learning_rate 8e-6 --lora_r 8 --lora_alpha 16 --kl_coef 0.03 --kl_start_step 200 --kl_warmup_steps 300 --kl_limit_seq 128 {QUESTIONS} --mtbench_backend simple",
    "qwen3_1p7b_s3_tune_b12ga11": f"{REASONING} --epochs 1 --batch 12 --grad_acc 11 --max_seq_length 512 --learning_rate 1.2e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.035 --kl_start_step 200 --kl_warmup_steps 400 --kl_limit_seq 128 --mtbench_ru auto --mtbench_questions_limit 32 --mtbench_temperature 0.0 --mtbench_backend simple --early_stop_patience 2 --eval_steps 200",
    "qwen3_1p7b_s4_e2_mix20_kl003_lr1e-5_b12ga11": f"{REASONING} --epochs 2 --batch 12 --grad_acc 11 --max_seq_length 512 --learning_rate 1e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.03 --kl_start_step 200 --kl_warmup_steps 400 --kl_limit_seq 128 {QUESTIONS} --mtbench_backend simple",
}  # fmt: skip
TWIX = Path(__file__).parents[2] / "studies" / "qwen3-1.7b-twix.yaml"


@pytest.mark.parametrize("name", RUSSIAN)
def test_the_russian_reproduction_plan_is_its_study_file(recipe_of: Any, tmp_path: Path, name: str) -> None:
    """What the script had built in is the study's `recipe`; with each command line it is that run's recipe."""
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(read_yaml(TWIX)["recipe"]))
    line = (
        f"--model Qwen/Qwen3-1.7B --output_dir {name} {RUSSIAN[name]} --baseline_eval_samples 40 --num_proc 4"
    )
    recipe, notes = recipe_of(line)
    (run,) = (run for run in load.load_study(TWIX).runs if run.name == name)
    expected = run.recipe.model_dump(mode="json")
    if "--mtbench_questions_limit 32" in line:  # the study grades all 80 at the end, as the write-up's table
        expected["eval"]["mtbench"]["questions"] = 32
    assert recipe.model_dump(mode="json") == expected
    said = ["mtbench_ru" if "backend" not in line else "mtbench_backend simple"]
    said += ["early_stop_patience 2"] * ("--early_stop_patience" in line) + ["baseline_eval_samples"]
    assert [note.split(":")[0] for note in notes] == said


def test_where_no_flag_of_that_script_stands_an_early_stop_watches_the_loss(recipe_of: Any) -> None:
    recipe, notes = recipe_of("--early_stop_patience 2 --eval_steps 200 --mtbench-judge simple")
    assert (recipe.early_stop_patience, recipe.eval.mtbench.judge) == (2, "simple")
    assert recipe.eval.mtbench.during is None
    assert notes == (
        "early_stop_patience 2 watches the held-out loss, as in transformers; "
        "eval.mtbench.during.patience watches MT-Bench",
    )
    recipe, notes = recipe_of("--mtbench_ru auto --early_stopping_patience 2 --eval_steps 200")
    assert (recipe.early_stop_patience, recipe.eval.mtbench.during) == (2, None)


RUST = {
    "--preset small-batch -n 10000": {
        "batch_size": 2,
        "grad_accum": 2,
        "lr": 2e-5,
        "lora_dropout": 0.1,
        "data.n": 10000,
    },
    "--preset aggressive-lr -n 5000 --push-to-hub": {
        "batch_size": 4,
        "lr": 5e-5,
        "warmup_ratio": 0.2,
        "data.n": 5000,
    },
    "--preset small-batch --lr 3e-5": {"batch_size": 2, "lr": 3e-5},
    "--preset small-batch -n 5000 --run-name exp-small-batch-5k": {"data.n": 5000},
    "--preset small-batch -n 10000 --push-to-hub": {"data.n": 10000},
    "--push_to_hub --hub_model_id USER/model-lora": {"lr": 2e-4},  # the teaching guide's
}


@pytest.mark.parametrize("line", RUST)
def test_the_studies_of_rust_and_the_teaching_guide(recipe_of: Any, line: Any) -> None:
    recipe, notes = recipe_of(line)
    assert values(recipe, RUST[line]) == RUST[line]
    assert notes == ()


def test_what_only_answers_is_another_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "paceline train --base b --data d --inference_only"
    monkeypatch.setattr(sys, "argv", line.split())
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == 2
    assert (
        "inference_only: nothing is trained then; talk to a finished run with `paceline chat RUN`"
        in capsys.readouterr().err
    )
