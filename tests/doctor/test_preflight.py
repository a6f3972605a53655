"""Each rule before training on a recipe or data that earns it, and none on sound recipes."""

import json
import random
import shutil
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from checked_recipe import RUST
from transformers import AutoModelForCausalLM

from paceline import embedded
from paceline.data.chat import load_tokenizer
from paceline.doctor import preflight
from paceline.doctor.preflight_rules import preflight_rules

pytestmark = pytest.mark.usefixtures("no_estimate")


def rows(path: Any, made: Any) -> Any:
    path.write_text("".join(json.dumps(row) + "\n" for row in made))
    return {"source": str(path)}


WORDS = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta", "iota", "kappa", "pi"]
# A template that never closes a turn.
OPEN_ENDED = (
    "{% for m in messages %}{{ '[' + m['role'] + '] ' + m['content'] + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '[assistant] ' }}{% endif %}"
)


def talk(rng: Any, count: Any = 120, answer: Any = 40) -> Any:
    return [
        {"prompt": " ".join(rng.choices(WORDS, k=20)), "completion": " ".join(rng.choices(WORDS, k=answer))}
        for _ in range(count)
    ]


@pytest.mark.parametrize(
    ("fields", "rule", "severity"),
    [
        (
            {"data": {**RUST, "n": 1200}, "max_steps": 12, "batch_size": 1, "grad_accum": 8},
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
        ({"dtype": "float16", "data": {**RUST, "n": 16, "eval_ratio": 0.2}}, "half-precision", "note"),
        ({"lora_alpha": 1024}, "odd-scale", "warning"),
        ({"target_modules": ["q_proj", "embed_tokens", "lm_head"]}, "adapts-the-ends", "warning"),
        ({"max_length": 300}, "much-is-cut", "warning"),
        ({"max_length": 200}, "empty-labels", "error"),
        ({"max_length": 100_000}, "too-long-for-the-model", "note"),
        ({"data": {"source": "embedded:rust", "n": 60}}, "eval-too-small", "warning"),
    ],
)
def test_recipes(findings_on: Any, fields: Any, rule: Any, severity: Any) -> None:
    findings = findings_on(**fields)
    assert findings[rule].severity == severity
    assert findings[rule].message
    assert findings[rule].fix or findings[rule].advice


@pytest.mark.parametrize(
    ("dtype", "has"), [("bfloat16", "has_bf16_products"), ("float16", "has_fp16_products")]
)
def test_half_precision_on_a_cpu_without_it_is_slower(
    findings_on: Any, monkeypatch: pytest.MonkeyPatch, dtype: str, has: str
) -> None:
    small = {"dtype": dtype, "data": {**RUST, "n": 16, "eval_ratio": 0.2}}
    monkeypatch.setattr(preflight, has, lambda: False)
    assert findings_on(**small)["half-without-hardware"].fix == {"dtype": "float32"}
    monkeypatch.setattr(preflight, has, lambda: True)
    assert "half-without-hardware" not in findings_on(**small)


def test_adapters_on_embeddings_and_head_are_suspects(findings_on: Any) -> None:
    """Seed 004's configuration: both ends over a base in four bits."""
    named = ["q_proj", "v_proj", "embed_tokens", "lm_head"]
    finding = findings_on(target_modules=named, quantize="nf4")["adapts-the-ends"]
    config = AutoModelForCausalLM.from_pretrained(embedded.BASE).config
    width, queries = config.hidden_size, config.num_attention_heads * config.head_dim
    values = config.num_key_value_heads * config.head_dim
    ends = 2 * (config.vocab_size + width)
    layers = config.num_hidden_layers * (2 * width + queries + values)
    assert finding.evidence == {"share": round(ends / (ends + layers), 3), "tied": config.tie_word_embeddings}
    assert "nf4" in finding.message
    assert finding.fix == {"target_modules": ["q_proj", "v_proj"]}
    assert "adapts-the-ends" not in findings_on(target_modules="all-linear")
    copied = findings_on(modules_to_save=["lm_head"], target_modules=["q_proj"])["adapts-the-ends"]
    copy, queried = config.vocab_size * width, config.num_hidden_layers * 16 * (width + queries)
    assert copied.evidence["share"] == round(copy / (copy + queried), 3)
    assert copied.fix == {"modules_to_save": None}


def test_copies_and_leaks(findings_on: Any, tmp_path: Path) -> None:
    made = talk(random.Random(0), 150)
    findings = findings_on(
        data=rows(
            tmp_path / "copies.jsonl",
            [*made, *({**row, "completion": row["completion"] + " pi"} for row in made)],
        )
    )
    assert {"leaks", "duplicates"} <= set(findings)
    assert findings["leaks"].fix == {"data.clean.duplicates": "near"}


def test_rows_without_a_question(findings_on: Any, tmp_path: Path) -> None:
    made = [
        {"messages": [{"role": "assistant", "content": row["completion"]}]} for row in talk(random.Random(1))
    ]
    template = "{% for m in messages %}{{ m['content'] + '<|im_end|>' }}{% endfor %}"
    assert "labels-everywhere" in findings_on(
        data=rows(tmp_path / "bare.jsonl", made), base=base_with(tmp_path / "base", template)
    )


def base_with(folder: Any, template: Any = None, change: Any = None, tokenizer: Any = None) -> Any:
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


def test_a_template_that_never_closes_a_turn(findings_on: Any, tmp_path: Path) -> None:
    finding = findings_on(base=base_with(tmp_path / "base", OPEN_ENDED))["no-end-of-turn"]
    assert finding.severity == "error"


def test_padding_that_is_the_end_and_masked(findings_on: Any, tmp_path: Path) -> None:
    base = base_with(tmp_path / "base", OPEN_ENDED, tokenizer=lambda t: setattr(t, "pad_token", t.eos_token))
    assert findings_on(base=base)["pad-is-end"].severity == "error"
    assert "pad-is-end" not in findings_on(
        base=base_with(tmp_path / "fine", tokenizer=lambda t: setattr(t, "pad_token", t.eos_token))
    )


def test_rows_that_are_rendered_already(findings_on: Any, tmp_path: Path) -> None:
    made = [{**row, "prompt": f"[INST] {row['prompt']} [/INST]"} for row in talk(random.Random(2))]
    assert "rendered-twice" in findings_on(data=rows(tmp_path / "rendered.jsonl", made))


def test_what_the_template_makes_of_the_rows(findings_on: Any, tmp_path: Path) -> None:
    eats = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' + m.content.split('</think>')[-1] }}"
        "{{ '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n<think>\n' }}{% endif %}"
    )
    made = [
        {
            "messages": [
                {"role": "user", "content": row["prompt"], "id": 1},
                {"role": "assistant", "content": f"<think>\nhm\n</think>\n\n{row['completion']}"},
            ]
        }
        for row in talk(random.Random(6))
    ]
    findings = findings_on(data=rows(tmp_path / "eaten.jsonl", made), base=base_with(tmp_path / "base", eats))
    removed = findings["template-removes-text"]
    assert removed.severity == "warning"
    assert "removes 2,040 characters of the assistant's text in 100.0% of the rows" in removed.message
    assert "120 of 120 rows" in findings["prompt-does-not-begin-the-answer"].message
    assert "key 'id' of a turn is not used: 120 of 120 rows (100.0%)" in findings["unused-keys"].message
    twice = [{"messages": row["messages"] + row["messages"]} for row in made]
    assert findings_on(data=rows(tmp_path / "twice.jsonl", twice))["answers-apart"].severity == "note"


def test_two_beginnings(findings_on: Any, tmp_path: Path) -> None:
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
    template = (
        "{{ bos_token }}{% for m in messages %}{{ m['content'] }}"
        "{% if m['role'] != 'system' %}{{ '<|im_end|>' }}{% endif %}{% endfor %}"
    )
    base = base_with(
        tmp_path / "base", template, tokenizer=lambda t: setattr(t, "bos_token", "<|endoftext|>")
    )
    assert "double-bos" in findings_on(base=base, data=rows(tmp_path / "bos.jsonl", made))


def test_a_loss_that_reaches_nothing(findings_on: Any, tmp_path: Path) -> None:
    def silence(model: Any) -> None:
        model.model.norm.weight.data.zero_()

    finding = findings_on(base=base_with(tmp_path / "base", change=silence))["nothing-reached"]
    assert (finding.severity, finding.evidence["modules"]) == ("error", 42)


def test_one_task_among_three(findings_on: Any, tmp_path: Path) -> None:
    made = [{**row, "task": "a" if i > 6 else f"b{i % 2}"} for i, row in enumerate(talk(random.Random(4)))]
    assert findings_on(data=rows(tmp_path / "tasks.jsonl", made))["one-task-rules"].severity == "note"


def test_dropped_rows_and_unused_columns_are_told(findings_on: Any, tmp_path: Path) -> None:
    made = talk(random.Random(6), 100)
    whole = [{**row, "origin": "forum"} for row in made]
    findings = findings_on(data=rows(tmp_path / "rows.jsonl", [*whole, {"prompt": "x"}]))
    assert findings["rows-dropped"].severity == "warning"
    assert "bad-rows" in findings["rows-dropped"].advice
    assert findings["columns-unused"].message == "columns that nothing reads: origin"


def test_a_mixture_that_cleaning_skewed(findings_on: Any, tmp_path: Path) -> None:
    rng = random.Random(5)
    first, second = (
        rows(tmp_path / "first.jsonl", talk(rng, 200)),
        rows(tmp_path / "second.jsonl", talk(rng, 20) * 10),
    )
    data = {**first, "mix": [{"ratio": 0.5}, {"ratio": 0.5, **second}], "clean": {}}
    assert "mixture-missed" in findings_on(data=data)


def test_answers_that_no_prompt_decides(findings_on: Any, tmp_path: Path) -> None:
    made = talk(random.Random(7), 120, answer=3)

    def finding(name: str, changed: Any) -> Any:
        return findings_on(data=rows(tmp_path / f"{name}.jsonl", changed)).get("answers-ignore-prompts")

    same = finding("same", [{**row, "completion": "yes"} for row in made])
    assert (same.severity, same.evidence["share"]) == ("error", 1.0)
    nearly = [{**row, "completion": "yes" if i % 15 else "no"} for i, row in enumerate(made)]
    assert finding("nearly", nearly).severity == "warning"
    blind = finding("blind", [{**row, "prompt": "Answer."} for row in made])
    assert (blind.severity, blind.evidence["share"]) == ("warning", 1.0)
    assert blind.evidence["answers"] > 50
    labels = [{**row, "completion": random.Random(i).choice(["yes", "no"])} for i, row in enumerate(made)]
    assert finding("labels", labels) is None, "few labels are no fault"
    assert finding("several", [{**row, "prompt": f"Answer {i % 12}."} for i, row in enumerate(made)]) is None


def test_a_full_disk(findings_on: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(preflight.shutil, "disk_usage", lambda path: usage(10, 10, 1000))
    finding = findings_on()["disk-too-small"]
    assert (finding.severity, finding.evidence["free"]) == ("error", 1000)


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
def test_a_sound_recipe_gets_no_warning(findings_on: Any, fields: Any) -> None:
    findings = findings_on(
        data={**RUST, "n": 1200, "clean": {}, "eval_ratio": 0.4}, max_length=1024, **fields
    )
    assert [f for f in findings.values() if f.severity != "note"] == []


def test_every_rule_is_tested_and_says_what_it_means() -> None:
    text = Path(__file__).read_text()
    for rule in preflight_rules:
        assert f'"{rule.name}"' in text or rule.name == "not-the-same-bits", (
            rule.name
        )  # the last one needs a GPU
        assert all(part in rule.explanation for part in ("Computed:", "Try:", "Source:")), rule.name
