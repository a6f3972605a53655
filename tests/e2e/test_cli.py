"""The command line from end to end, in processes of its own."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from paceline.config.presets import PRESETS
from warm_process import run_warm

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]


def paceline(*arguments: Any, code: Any = 0, stdin: Any = "") -> Any:
    done = run_warm(*arguments, cwd=ROOT, stdin=stdin)
    assert done.returncode == code, done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A short study on the embedded base: three runs, the last a copy of the first in all but its seed."""
    folder = tmp_path_factory.mktemp("study")
    content = {
        "study": "short",
        "recipe": {
            "base": "embedded",
            "data": {"source": "embedded:rust", "n": 200, "eval_ratio": 0.3},
            "lr": 1e-3,
            "max_steps": 6,
            "logging_steps": 2,
        },
        "runs": [
            {"name": "base-rate"},
            {"name": "frozen", "lr": 1e-9, "hypothesis": "too low to learn"},
            {"name": "tenfold", "preset": "small-batch", "lr": 3e-3},
        ],
    }
    (folder / "short.yaml").write_text(yaml.safe_dump(content))
    said = paceline("study", "run", folder / "short.yaml", "--runs", folder, "--json")
    return folder, json.loads(said)


def test_help_needs_neither_torch_nor_transformers() -> None:
    code = "import sys; sys.argv = ['paceline', '--help']\ntry:\n    from paceline.cli.main import main; main()\nexcept SystemExit: pass\nprint(sorted({'torch', 'transformers', 'datasets', 'peft', 'numpy', 'scipy'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


def test_a_study_trains_and_says_which_adapters_differ(trained: Any) -> None:
    _, result = trained
    runs = {run["name"]: run for run in result["recipes"]}
    assert runs["base-rate"]["eval_loss"] < result["base_loss"] - 0.05
    assert runs["frozen"]["eval_loss"] == pytest.approx(result["base_loss"], abs=1e-3)
    assert runs["frozen"]["difference"]["verdict"] == "differ"
    assert runs["base-rate"]["difference"] is None
    assert len(runs["base-rate"]["tasks"]) >= 8
    assert set(runs["base-rate"]["tasks"]) <= {
        row["task_category"] for row in pq.read_table(ROOT / "src/paceline/embedded/rust.parquet").to_pylist()
    }


def test_the_run_directory_holds_what_the_design_promises(trained: Any) -> None:
    folder, result = trained
    run = folder / "short" / "tenfold"
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    assert (recipe["batch_size"], recipe["lr"], recipe["lora_dropout"]) == (2, 3e-3, 0.1)
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert [e["event"] for e in events if e["event"] != "finding"] == [
        "start",
        "eval",
        "train",
        "train",
        "train",
        "eval",
    ]
    assert {"step", "tokens", "loss", "lr", "grad_norm", "seconds"} <= set(events[2])
    state = json.loads((run / "trainer_state.json").read_text())
    assert [entry["step"] for entry in state["log_history"] if "loss" in entry] == [2, 4, 6]
    table = pq.read_table(run / "eval" / "final.parquet")
    assert table.column_names == ["source", "row", "task", "tokens", "loss", "correct", "kl", "answer"]
    assert sum(table.column("loss").to_pylist()) / sum(table.column("tokens").to_pylist()) == pytest.approx(
        result["recipes"][2]["eval_loss"]
    )
    assert (run / "adapter" / "adapter_config.json").is_file()
    assert (
        yaml.safe_load((folder / "short" / "study.yaml").read_text())["runs"][1]["hypothesis"]
        == "too low to learn"
    )


def test_running_a_finished_study_again_changes_nothing(trained: Any) -> None:
    folder, result = trained
    before = {path: path.stat().st_mtime_ns for path in (folder / "short").rglob("*") if path.is_file()}
    assert json.loads(paceline("study", "run", folder / "short.yaml", "--runs", folder, "--json")) == result
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_the_written_recipe_trains_the_same_run_again(trained: Any) -> None:
    folder, _ = trained
    paceline("train", folder / "short" / "tenfold" / "recipe.yaml", "--run-name", "again", "--runs", folder)
    first, again = (
        folder / name / "adapter" / "adapter_model.safetensors" for name in ("short/tenfold", "again")
    )
    assert first.read_bytes() == again.read_bytes()


def test_compare_takes_runs_or_a_study(trained: Any) -> None:
    folder, result = trained
    assert json.loads(paceline("compare", folder / "short", "--json"))["best"] == result["best"]
    pair = json.loads(
        paceline("compare", folder / "short" / "frozen", folder / "short" / "tenfold", "--json")
    )
    assert pair["recipes"][1]["difference"]["verdict"] == "differ"
    table = paceline("compare", folder / "short")
    assert "tenfold" in table
    assert "95%" in table


def test_chat_answers_from_a_pipe(trained: Any) -> None:
    folder, _ = trained
    greedy = [
        paceline("chat", folder / "short" / "tenfold", "--max-new-tokens", 12, stdin="Explain gcd.\n")
        for _ in range(2)
    ]
    assert greedy[0] == greedy[1]
    assert greedy[0].strip()
    sampled = {
        paceline(
            "chat",
            folder / "short" / "tenfold",
            "--max-new-tokens",
            12,
            "--temperature",
            1.5,
            "--seed",
            seed,
            stdin="Explain gcd.\n",
        )
        for seed in (1, 2)
    }
    assert len(sampled) == 2


def test_the_seeds_own_flags(tmp_path: Path) -> None:
    paceline(
        "train",
        "--preset",
        "small-batch",
        "-n",
        60,
        "--run-name",
        "exp",
        "--base",
        "embedded",
        "--data",
        "embedded:rust",
        "--lr",
        "3e-5",
        "--batch-size",
        3,
        "--grad-accum",
        1,
        "--warmup-ratio",
        0.2,
        "--lora-r",
        4,
        "--lora-alpha",
        8,
        "--lora-dropout",
        0.2,
        "--max-length",
        300,
        "--epochs",
        0.2,
        "--lr-scheduler",
        "linear",
        "--seed",
        7,
        "--runs",
        tmp_path,
    )
    recipe = yaml.safe_load((tmp_path / "exp" / "recipe.yaml").read_text())
    expected = {
        "lr": 3e-5,
        "batch_size": 3,
        "grad_accum": 1,
        "warmup_ratio": 0.2,
        "lora_r": 4,
        "lora_alpha": 8,
        "lora_dropout": 0.2,
        "max_length": 300,
        "epochs": 0.2,
        "lr_scheduler": "linear",
        "seed": 7,
    }
    assert {key: recipe[key] for key in expected} == expected
    assert recipe["data"]["n"] == 60


def test_study_show_tells_differences_steps_and_coverage_before_anything_is_spent() -> None:
    shown = json.loads(paceline("study", "show", "studies/rust-five-recipes.yaml", "--json"))["runs"]
    assert [run["steps"] for run in shown] == [562, 1125, 562, 562, 2250, 1125]
    assert [run["effective_batch"] for run in shown] == [16, 16, 16, 16, 4, 4]
    assert shown[1]["differences"] == {"epochs": [1.0, 2.0], "max_steps": [562, 1125], "lr": [2e-5, 1e-5]}
    assert "hypothesis" in paceline("study", "show", "studies/rust-five-recipes.yaml")


def test_presets_are_listed() -> None:
    assert json.loads(paceline("presets", "--json")) == PRESETS
    assert all(name in paceline("presets") for name in PRESETS)


def test_data_show_counts_lengths_and_renders_an_example() -> None:
    facts = json.loads(paceline("data", "show", "embedded:rust", "-n", 300, "--json"))
    assert (facts["rows"], facts["format"]) == (300, "strandset")
    assert set(facts["length"]) == {"p50", "p95", "p99", "max"}
    assert facts["fits"]["2048"] == 1.0
    text = paceline("data", "show", "embedded:rust", "-n", 300)
    assert "<|im_start|>assistant" in text
    (spans,) = facts["examples"].values()
    assert all(f"⟦{content}⟧" in text for content, supervised in spans if supervised)


def test_rehearse_walks_a_study_on_the_embedded_base(tmp_path: Path) -> None:
    study = {
        "study": "real",
        "recipe": {"base": "Qwen/Qwen3-4B", "data": "some/dataset", "max_steps": 200, "eval_steps": 100},
        "runs": [{"name": "one"}, {"name": "two", "lr": 1e-4}],
    }
    (tmp_path / "real.yaml").write_text(yaml.safe_dump(study))
    result = json.loads(paceline("rehearse", tmp_path / "real.yaml", "--runs", tmp_path, "--json"))
    assert [run["steps"] for run in result["recipes"]] == [10, 10]
    recipe = yaml.safe_load((tmp_path / "rehearsal-real" / "two" / "recipe.yaml").read_text())
    assert (recipe["base"], recipe["data"]["source"]) == ("embedded", "embedded:rust")


def test_plan_estimates_a_study_and_writes_nothing(trained: Any, tmp_path: Path) -> None:
    folder, _ = trained
    before = sorted(folder.rglob("*"))
    (cohort,) = json.loads(paceline("plan", folder / "short.yaml", "--json"))
    assert [(run["name"], run["steps"]) for run in cohort["runs"]] == [
        ("base-rate", 6),
        ("frozen", 6),
        ("tenfold", 6),
    ]
    assert set(cohort["memory"]) == {
        "libraries",
        "base",
        "adapters and gradients",
        "optimizers",
        "activations",
    }
    assert 0 < cohort["total"] < cohort["available"]
    assert "memory, MiB: libraries" in paceline("plan", folder / "short.yaml")
    assert sorted(folder.rglob("*")) == before


def test_clean_writes_what_is_left_and_counts_the_rest(tmp_path: Path) -> None:
    rows = [
        json.dumps(
            {
                "prompt": f"Question {i}, and what of {i * i}?",
                "completion": f"Answer {i % 3} is {i * 7} or {i + 1}.",
            }
        )
        for i in range(20)
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join([*rows, rows[4], rows[4]]))
    said = json.loads(
        paceline(
            "data",
            "clean",
            tmp_path / "rows.jsonl",
            "-o",
            tmp_path / "clean.jsonl",
            "--duplicates",
            "exact",
            "--json",
        )
    )
    assert said["kept"] == 20
    assert said["removed"]["exact duplicate"] == 2
    assert (tmp_path / "clean.jsonl").read_text().splitlines() == rows


def test_a_command_line_of_the_write_ups_works_as_it_stands(tiny_base: Any, tmp_path: Path) -> None:
    """Every flag of the T-Wix experiments, beside what makes it short here, and a reward model that is at hand."""
    from transformers import AutoModelForSequenceClassification

    from paceline.data.chat import load_tokenizer

    grader = tmp_path / "reward"
    AutoModelForSequenceClassification.from_pretrained(tiny_base("qwen3"), num_labels=1).save_pretrained(
        grader
    )
    load_tokenizer("embedded").save_pretrained(grader)
    flags = """--model embedded --output_dir OUT --subset both --mix_reasoning_ratio 0.2 --sample_ratio 0.05 --epochs 1 --batch 2 --grad_acc 2
        --max_seq_length 512 --learning_rate 1.2e-5 --lora_r 8 --lora_alpha 16 --kl_coef 0.02 --kl_start_step 0 --kl_warmup_steps 400 --kl_limit_seq 16
        --mtbench_ru embedded:ru --mtbench_questions_limit 2 --mtbench_temperature 0.0 --mtbench_backend simple --early_stop_patience 2 --eval_steps 200
        --baseline_eval_samples 40 --num_proc 4 --data embedded:twix --max_steps 1 --mtbench_max_new_tokens 4 --judge_model GRADER"""
    run = tmp_path / "seed"
    paceline("train", *flags.replace("OUT", str(run)).replace("GRADER", str(grader)).split())
    recipe = yaml.safe_load((run / "recipe.yaml").read_text())
    asked = recipe["eval"]["mtbench"]
    assert (asked["lang"], asked["questions"], asked["judge"], asked["max_new_tokens"]) == (
        "embedded:ru",
        2,
        "reward",
        4,
    )
    assert (asked["during"]["steps"], asked["during"]["questions"], asked["during"]["patience"]) == (
        200,
        2,
        2,
    )
    assert recipe["early_stop_patience"] is None
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    assert any("score" in event for event in events), "the base was asked before training"
    assert (
        recipe["data"]["mix_reasoning_ratio"],
        recipe["kl"]["coef"],
        recipe["kl"]["tail"],
        recipe["grad_accum"],
    ) == (0.2, 0.02, 16, 2)
