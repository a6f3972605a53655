"""The log rules on real logs: broken runs are named, healthy ones left in peace."""

import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from logged_cases import BROKEN, HEALTHY, INDEX, case_events, case_findings

from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.ours import log_of_events
from paceline.doctor.logs.read import read_log
from paceline.runs.events import FailedEvent, FindingEvent, StartEvent, TrainEvent, of_kind
from paceline.runs.trainer_state import write_trainer_state

# Their figures are not in transformers' form of a log.
ONLY_IN_OURS = {
    "accuracy-at-base",
    "b-still-zero",
    "early-plateau",
    "few-layers-learn",
    "labels-carry-nothing",
    "not-finite",
    "padding",
    "slower-and-slower",
    "stopped-while-falling",
    "tiny-batch",
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_went_wrong_is_named(name: str) -> None:
    assert set(INDEX[name]["expect"]) <= {finding.rule for finding in case_findings(name)}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gets_no_warning(name: str) -> None:
    assert [finding for finding in case_findings(name) if finding.severity != "note"] == []


@pytest.mark.parametrize("name", [*BROKEN, *HEALTHY])
def test_no_rule_fails(name: str) -> None:
    assert not [finding.message for finding in case_findings(name) if " failed: " in finding.message]


def test_every_rule_has_a_case_and_says_what_it_means() -> None:
    expected = {rule for case in INDEX.values() for rule in case["expect"]}
    by_hand = {"loss-is-zero", "endless-warmup", "lines-unread"}  # tests/doctor/test_other_logs.py
    assert {rule.name for rule in log_rules} == expected | by_hand
    for rule in log_rules:
        assert all(part in rule.explanation for part in ("Computed:", "Try:", "Source:")), rule.name


@pytest.mark.parametrize("name", [*BROKEN[:12], *HEALTHY[:3]])
def test_hugging_face_s_form_of_the_log_gives_the_same(name: str, tmp_path: Path) -> None:
    events = case_events(name)
    total = of_kind(events, StartEvent)[0].total_steps
    write_trainer_state(events, tmp_path / "trainer_state.json", total, 1)
    ((_, log),) = read_log(tmp_path)
    ours = {finding.rule for finding in case_findings(name)} - ONLY_IN_OURS
    assert ours <= {finding.rule for finding in log_rules.findings(log)}


def test_the_post_mortem_s_own_figures(tmp_path: Path) -> None:
    """Its causes come first, what explains the others before them, with its remedies."""
    history = []
    for step in range(25, 501, 25):
        rate = 5e-5 * 0.5 * (1 + math.cos(math.pi * min(step, 499.9) / 500))
        figures = {
            "loss": round(2.7335 - (2.7335 - 2.7150) * step / 500, 4),
            "grad_norm": 0.0,
            "learning_rate": max(rate, 5e-10),
            "mean_token_accuracy": 0.452 + 0.008 * step / 500,
        }
        progress = {"epoch": step * 8 / 45000, "step": step}
        history.append(figures | progress)
        if step in (150, 300, 450):
            history.append({"eval_loss": 2.9310} | progress)
    state = {"max_steps": 500, "train_batch_size": 1, "log_history": history}
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    findings = log_rules.findings(read_log(tmp_path)[0][1])
    causes = ["zero-gradient", "low-coverage", "dead-learning-rate", "tiny-batch", "same-eval"]
    assert [finding.rule for finding in findings][:5] == causes
    assert all(finding.severity == "error" for finding in findings[:5])
    assert "8.9%" in findings[1].message
    fixes = {key for finding in findings[:4] for key in finding.fix}
    assert {"epochs", "lr_scheduler", "batch_size", "grad_accum"} <= fixes
    assert "quantize" not in fixes, "the log does not say that the base was quantized"


def train_event(step: Any, **figures: Any) -> Any:
    usual = {"epoch": step / 10, "loss": 2.0, "lr": 1e-4, "grad_norm": 1.0, "token_accuracy": 0.5}
    counts = {"tokens": 100 * step, "supervised_tokens": 50 * step, "seconds": float(step)}
    return TrainEvent(step=step, **{**usual, **counts, **figures})


def test_a_gradient_of_zero_between_logged_lines_is_reported_afterwards_too() -> None:
    reported = FindingEvent(step=3, rule="zero-gradient", severity="warning", message="0.0")
    events = [train_event(2), reported, train_event(4)]
    (finding,) = (f for f in log_rules.findings(log_of_events(events, 4)) if f.rule == "zero-gradient")
    assert (finding.severity, "at step 3, between the logged lines" in finding.message) == ("warning", True)


@pytest.mark.parametrize(
    ("reason", "not_finite"),
    [
        ("loss nan, grad_norm inf at step 2", True),
        ("the run that it starts from, a, failed", False),
        ("3 evaluations in a row gave 2.9, to the last digit (same-eval)", False),
    ],
)
def test_only_a_run_that_failed_on_its_figures_is_not_finite(reason: Any, not_finite: Any) -> None:
    log = log_of_events([train_event(1), FailedEvent(step=2, reason=reason)], 4)
    assert (log.not_finite == [2]) == not_finite


def test_a_log_without_rates_gets_no_change_of_the_rate(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text("".join(f"{{'loss': {2 + step}, 'grad_norm': 20.0}}\n" for step in range(20)))
    findings = log_rules.findings(read_log(path)[0][1])
    assert {"loss-above-start", "large-gradient"} <= {finding.rule for finding in findings}
    assert all("lr" not in finding.fix for finding in findings)


def test_logs_are_read_and_judged_without_torch() -> None:
    code = (
        "import sys, paceline.doctor.explain, paceline.doctor.logs.read;"
        "print([name for name in ('torch', 'transformers') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_labels_that_carry_nothing_are_told_from_those_that_do() -> None:
    """The finding needs the marginal: another trainer's log does not know it."""
    assert "labels-carry-nothing" not in {finding.rule for finding in case_findings("labels")}
    (finding,) = (f for f in case_findings("labels-shuffled") if f.rule == "labels-carry-nothing")
    assert finding.severity == "warning"
    assert finding.evidence["marginal"] == pytest.approx(math.log(3) / 3, rel=0.05), (
        "three answers, three tokens"
    )
    events = [
        event.model_copy(update={"marginal_loss": None}) if isinstance(event, StartEvent) else event
        for event in case_events("labels-shuffled")
    ]
    assert "labels-carry-nothing" not in {f.rule for f in log_rules.findings(log_of_events(events, 4))}
