"""What the doctor says before training: each rule on a recipe or data that earns it, and nothing on those that do not."""

import json
import random
import shutil
import subprocess
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM

from paceline import embedded
from paceline.config.load import make_recipe
from paceline.config.study import Run, Study
from paceline.data.chat import load_tokenizer
from paceline.doctor import check as check_module
from paceline.doctor import preflight
from paceline.doctor.check import check_study
from paceline.doctor.preflight_rules import preflight_rules
from paceline.train.estimate import CohortEstimate

RUST = {"source": "embedded:rust", "n": 400}
COMMON = {"base": "embedded", "data": RUST, "lr": 8e-4, "epochs": 1}


@pytest.fixture(autouse=True)
def no_estimate(monkeypatch, request):
    """The estimate of memory has tests of its own; here it would only cost time."""
    if "memory" not in request.node.name:
        monkeypatch.setattr(check_module, "_memory", lambda *_: [])


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """Fields of a recipe -> the findings on it, by rule."""

    def look(**fields):
        recipe = make_recipe({**COMMON, **fields}, "case")
        study = Study(name="case", runs=[Run(name="case", recipe=recipe)])
        return {f.rule: f for f in check_study(study, tmp_path_factory.getbasetemp())}

    return look


def rows(path, made):
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return {"source": str(path)}


def talk(rng, count=120, answer=40):
    words = [
        "alpha",
        "beta",
        "gamma",
        "delta",
        "epsilon",
        "zeta",
        "eta",
        "theta",
        "iota",
        "kappa",
        "lambda",
        "mu",
        "nu",
        "xi",
        "omicron",
        "pi",
    ]
    return [
        {"prompt": " ".join(rng.choices(words, k=20)), "completion": " ".join(rng.choices(words, k=answer))}
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("fields", "rule", "severity"),
    [
        (
            {
                "data": {"source": "embedded:rust", "n": 1200},
                "max_steps": 12,
                "batch_size": 1,
                "grad_accum": 8,
            },
            "little-coverage",
            "warning",
        ),
        ({"lr_scheduler": "polynomial", "power": 5}, "schedule-dies-early", "warning"),
        ({"warmup_steps": 500}, "warmup-never-ends", "error"),
        ({"warmup_ratio": 0.7}, "warmup-never-ends", "warning"),
        ({"lr": 0.3}, "rate-out-of-range", "error"),
        ({"lr": 8e-3}, "rate-out-of-range", "warning"),
        ({"lr": 1e-6}, "rate-out-of-range", "warning"),
        ({"lr": 2e-5}, "rate-out-of-range", "note"),
        ({"batch_size": 32, "grad_accum": 8}, "few-steps", "warning"),
        ({"quantize": "nf4", "batch_size": 1, "grad_accum": 8}, "four-bits-tiny-batch", "warning"),
        ({"quantize": "nf4", "compute_dtype": "float16"}, "half-precision", "note"),
        ({"lora_alpha": 1024}, "odd-scale", "warning"),
        ({"max_length": 300}, "much-is-cut", "warning"),
        ({"max_length": 200}, "empty-labels", "error"),
        ({"max_length": 100_000}, "too-long-for-the-model", "note"),
        ({"data": {"source": "embedded:rust", "n": 60}}, "eval-too-small", "warning"),
    ],
)
def test_recipes(found, fields, rule, severity):
    findings = found(**fields)
    assert findings[rule].severity == severity
    assert findings[rule].message
    assert findings[rule].fix or findings[rule].advice


def test_copies_and_leaks(found, tmp_path):
    made = talk(random.Random(0), 150)
    findings = found(
        data=rows(
            tmp_path / "copies.jsonl",
            [*made, *({**row, "completion": row["completion"] + " pi"} for row in made)],
        )
    )
    assert {"leaks", "duplicates"} <= set(findings)
    assert findings["leaks"].fix == {"data.clean.duplicates": "near"}


def test_rows_without_a_question(found, tmp_path):
    made = [
        {"messages": [{"role": "assistant", "content": row["completion"]}]} for row in talk(random.Random(1))
    ]
    template = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    assert "labels-everywhere" in found(
        data=rows(tmp_path / "bare.jsonl", made), base=base_with(tmp_path / "base", template)
    )


def base_with(folder, template=None, change=None, tokenizer=None):
    """The embedded base with another chat template, other weights, or another tokenizer."""
    shutil.copytree(embedded.BASE, folder)
    if template:
        (folder / "chat_template.jinja").write_text(template)
    if change:
        model = AutoModelForCausalLM.from_pretrained(folder)
        change(model)
        model.save_pretrained(folder)
    if tokenizer:
        made = load_tokenizer(str(folder))
        tokenizer(made)
        made.save_pretrained(folder)
    return str(folder)


def test_a_template_that_never_closes_a_turn(found, tmp_path):
    template = "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
    finding = found(base=base_with(tmp_path / "base", template))["no-end-of-turn"]
    assert finding.severity == "error"


def test_padding_that_is_the_end_and_masked(found, tmp_path):
    template = "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
    base = base_with(tmp_path / "base", template, tokenizer=lambda t: setattr(t, "pad_token", t.eos_token))
    assert found(base=base)["pad-is-end"].severity == "error"
    assert "pad-is-end" not in found(
        base=base_with(tmp_path / "fine", tokenizer=lambda t: setattr(t, "pad_token", t.eos_token))
    )


def test_rows_that_are_rendered_already(found, tmp_path):
    made = [{**row, "prompt": f"[INST] {row['prompt']} [/INST]"} for row in talk(random.Random(2))]
    assert "rendered-twice" in found(data=rows(tmp_path / "rendered.jsonl", made))


def test_two_beginnings(found, tmp_path):
    made = [
        {
            "messages": [
                {"role": "system", "content": "<|endoftext|>"},
                {"role": "user", "content": r["prompt"]},
                {"role": "assistant", "content": r["completion"]},
            ]
        }
        for r in talk(random.Random(3))
    ]
    template = "{{ bos_token }}{% for m in messages %}{{ m['content'] }}{% if m['role'] != 'system' %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    base = base_with(
        tmp_path / "base", template, tokenizer=lambda t: setattr(t, "bos_token", "<|endoftext|>")
    )
    assert "double-bos" in found(base=base, data=rows(tmp_path / "bos.jsonl", made))


def test_a_loss_that_reaches_nothing(found, tmp_path):
    def silence(model):
        model.model.norm.weight.data.zero_()

    finding = found(base=base_with(tmp_path / "base", change=silence))["nothing-reached"]
    assert (finding.severity, finding.evidence["modules"]) == ("error", 42)


def test_one_task_among_three(found, tmp_path):
    made = [{**row, "task": "a" if i > 6 else f"b{i % 2}"} for i, row in enumerate(talk(random.Random(4)))]
    assert found(data=rows(tmp_path / "tasks.jsonl", made))["one-task-rules"].severity == "note"


def test_a_mixture_that_cleaning_skewed(found, tmp_path):
    rng = random.Random(5)
    first, second = (
        rows(tmp_path / "first.jsonl", talk(rng, 200)),
        rows(tmp_path / "second.jsonl", talk(rng, 20) * 10),
    )
    data = {**first, "mix": [{"ratio": 0.5}, {"ratio": 0.5, **second}], "clean": {}}
    assert "mixture-missed" in found(data=data)


def test_disk_and_memory(found, monkeypatch):
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    monkeypatch.setattr(
        check_module, "estimate_cohort", lambda *_: CohortEstimate("b", [], {"base": 2**34}, 2**33)
    )
    findings = found()
    assert findings["disk-too-small"].severity == findings["memory-too-small"].severity == "error"
    assert "16.0 GiB needed (base 16.0), the device has 8.0" in findings["memory-too-small"].message


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"epochs": 2, "lora_r": 64, "lora_alpha": 64, "use_rslora": True},
        {"batch_size": 2, "grad_accum": 2, "lora_dropout": 0.1},
        {"quantize": "int8"},
        {"lr_scheduler": "linear", "target_modules": ["q_proj", "v_proj"]},
    ],
)
def test_a_sound_recipe_gets_no_warning(found, fields):
    findings = found(data={**RUST, "clean": {}, "eval_ratio": 0.2}, max_length=1024, **fields)
    assert [f for f in findings.values() if f.severity != "note"] == []


def test_every_rule_is_tested_and_says_what_it_means():
    text = Path(__file__).read_text()
    for rule in preflight_rules:
        assert f'"{rule.name}"' in text or rule.name == "not-the-same-bits", (
            rule.name
        )  # the last one needs a GPU
        assert all(part in rule.text for part in ("Computed:", "Try:", "Source:")), rule.name


def test_the_command_line_fixes_and_fails(tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump({**COMMON, "data": {**RUST, "clean": {}}, "warmup_steps": 500}))
    command = [sys.executable, "-m", "paceline", "check", str(path)]
    done = subprocess.run([*command, "--fix"], capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    assert "error   warmup-never-ends  500 of 23 steps warm up" in done.stdout
    assert "-warmup_steps: 500\n+warmup_steps: null\n+warmup_ratio: 0.1" in done.stdout
    fixed = subprocess.run(
        [*command[:-1], str(tmp_path / "recipe.fixed.yaml"), "--json"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert not [f for f in json.loads(fixed.stdout) if f["severity"] == "error"]


def test_training_does_not_start_on_an_error_unless_told(tmp_path):
    command = [
        sys.executable,
        "-m",
        "paceline",
        "train",
        "--base",
        "embedded",
        "--data",
        "embedded:rust",
        "-n",
        "80",
        "--max-steps",
        "2",
        "--lr",
        "1",
        "--runs",
        str(tmp_path),
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "rate-out-of-range" in done.stderr
    assert "not started; change the recipe, or go on with --no-check" in done.stderr
    assert not (tmp_path / "run").exists()
    assert (
        subprocess.run([*command, "--no-check"], capture_output=True, text=True, check=False).returncode == 0
    )


def test_an_error_while_training_stops_that_run_alone(recipe, study, tmp_path):
    from paceline.doctor.live import LiveDoctor
    from paceline.runs.events import FindingEvent, of_kind, read_events
    from paceline.train.study import TrainingOptions, train_study

    torch.manual_seed(0)
    dead = recipe(lr=1e-30, eval_steps=2, max_steps=20, on_error="stop", warmup_ratio=0)
    outcome = train_study(
        study(dead=dead, fine=recipe(max_steps=3)), tmp_path, TrainingOptions(callbacks=[LiveDoctor()])
    )
    assert outcome.states() == {"dead": "failed", "fine": "finished"}
    events = read_events(tmp_path / "dead" / "events.jsonl")
    assert [finding.rule for finding in of_kind(events, FindingEvent)] == ["same-eval"]
    assert "to the last digit" in outcome.directories[0].status().reason
