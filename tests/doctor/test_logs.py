"""The doctor on real logs: broken runs are named, healthy ones left in peace, and any trainer's log is read."""

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml

from paceline.doctor.finding import explain
from paceline.doctor.live import LiveDoctor
from paceline.doctor.log import log_of_events, read_log
from paceline.doctor.log_rules import log_rules
from paceline.errors import PacelineError
from paceline.runs.events import StartEvent, of_kind, read_events
from paceline.runs.trainer_state import write_trainer_state
from paceline.train.callbacks import dispatch

CASES = Path(__file__).parent / "cases"
INDEX = yaml.safe_load((CASES / "index.yaml").read_text())
HEALTHY = [name for name, case in INDEX.items() if case["healthy"]]
BROKEN = [name for name, case in INDEX.items() if not case["healthy"]]


def case_log(name):
    """Our own events, or another trainer's console."""
    if (console := CASES / f"{name}.log").is_file():
        return read_log(console)[0][1]
    return log_of_events(read_events(CASES / f"{name}.jsonl"), INDEX[name]["batch_size"])


def found(name):
    return log_rules.findings(case_log(name))


@pytest.mark.parametrize("name", BROKEN)
def test_what_went_wrong_is_named(name):
    assert set(INDEX[name]["expect"]) <= {finding.rule for finding in found(name)}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_run_gets_no_warning(name):
    assert [finding for finding in found(name) if finding.severity != "note"] == []


def test_every_rule_has_a_case_and_says_what_it_means():
    expected = {rule for case in INDEX.values() for rule in case["expect"]}
    assert {rule.name for rule in log_rules} == expected
    for rule in log_rules:
        assert all(part in rule.text for part in ("Computed:", "Try:", "Source:")), rule.name
        assert explain(rule.name, log_rules) == rule.text


@pytest.mark.parametrize("name", [*BROKEN[:12], *HEALTHY[:3]])
def test_hugging_face_s_form_of_the_log_gives_the_same(name, tmp_path):
    """Norms and untrained figures are not in it: the rules that need them are silent there."""
    events = read_events(CASES / f"{name}.jsonl")
    total = of_kind(events, StartEvent)[0].total_steps
    write_trainer_state(events, tmp_path / "trainer_state.json", total, 1)
    ((_, log),) = read_log(tmp_path)
    ours = {f.rule for f in found(name)} - {"b-still-zero", "few-layers-learn", "slower-and-slower", "accuracy-at-base", "early-plateau", "stopped-while-falling", "tiny-batch", "not-finite", "padding"}  # fmt: skip
    assert ours <= {f.rule for f in log_rules.findings(log)}


def test_the_post_mortem_s_own_figures(tmp_path):
    """Seed 004's numbers as a trainer_state.json: its causes come first, in its order, with its remedies."""
    steps = range(25, 501, 25)
    history = []
    for step in steps:
        rate = 5e-5 * 0.5 * (1 + math.cos(math.pi * min(step, 499.9) / 500))
        loss = 2.7335 - (2.7335 - 2.7150) * step / 500
        history.append(
            {
                "loss": round(loss, 4),
                "grad_norm": 0.0,
                "learning_rate": max(rate, 5e-10),
                "mean_token_accuracy": 0.452 + 0.008 * step / 500,
                "epoch": step * 8 / 45000,
                "step": step,
            }
        )
        if step in (150, 300, 450):
            history.append({"eval_loss": 2.9310, "epoch": step * 8 / 45000, "step": step})
    state = {
        "epoch": 0.0889,
        "global_step": 500,
        "max_steps": 500,
        "num_train_epochs": 1,
        "train_batch_size": 1,
        "log_history": history,
    }
    (tmp_path / "trainer_state.json").write_text(json.dumps(state))
    findings = log_rules.findings(read_log(tmp_path)[0][1])
    assert [f.rule for f in findings][:5] == [
        "low-coverage",
        "dead-learning-rate",
        "zero-gradient",
        "tiny-batch",
        "same-eval",
    ]
    assert all(f.severity == "error" for f in findings[:5])
    assert "8.9%" in findings[0].message
    fixes = {key for finding in findings[:4] for key in finding.fix}
    assert {"epochs", "lr_scheduler", "quantize", "batch_size", "grad_accum"} <= fixes


CONSOLE = """
some warning from a library
  0%|          | 0/10 [00:00<?, ?it/s]
{'loss': 2.5, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 0.1}
{'loss': '2.4', 'grad_norm': '1.1', 'learning_rate': '9e-06', 'epoch': '0.2'}
 20%|██        | 2/10 [00:02<00:08]{'loss': nan, 'grad_norm': inf, 'learning_rate': 8e-06, 'epoch': 0.3}
{'eval_loss': 2.3, 'eval_runtime': 1.0, 'epoch': 0.3}
{'train_runtime': 3.0, 'train_loss': 2.4, 'epoch': 0.3}
"""


def test_a_console_log(tmp_path):
    path = tmp_path / "train.log"
    path.write_text(CONSOLE)
    log = read_log(path)[0][1]
    assert log.loss[:2].tolist() == [2.5, 2.4]
    assert log.not_finite == [3]
    assert log.eval_loss.tolist() == [2.3]
    assert log_rules.findings(log)[0].rule == "not-finite"


def test_a_long_console_log_takes_bounded_memory(tmp_path):
    """A hundred megabytes here, with one line of thirty megabytes of progress bar; peak memory must not grow with the file."""
    path = tmp_path / "long.log"
    with path.open("w") as file:
        file.write("█" * 10_000_000 + "\n")
        for step in range(700_000):
            file.write(
                f"{{'loss': {2 + 1 / (step + 1):.6f}, 'grad_norm': 1.0, 'learning_rate': 1e-05, 'epoch': {step / 1e5:.4f}}}\n"
            )
    code = f"import resource; from pathlib import Path; from paceline.doctor.log import read_log; before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss; log = read_log(Path({str(path)!r}))[0][1]; print(len(log), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)"
    lines, grown = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.split()
    assert 20_000 <= int(lines) <= 40_000
    assert int(grown) < 120_000, "kilobytes"


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("trainer_state.json", '{"log_history": [{"loss": 1.0}, {"lo', "line 1 column"),
        ("trainer_state.json", "[]", "no `log_history`"),
        ("train.log", "nothing here\n", "no line with a dict of figures"),
    ],
)
def test_what_is_no_log_is_refused_in_a_line(tmp_path, name, content, said):
    (tmp_path / name).write_text(content)
    with pytest.raises(PacelineError, match=said) as caught:
        read_log(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_empty_directory_is_refused(tmp_path):
    with pytest.raises(
        PacelineError, match=r"neither a run \(events.jsonl\), a study, nor an output directory"
    ):
        read_log(tmp_path)
    with pytest.raises(PacelineError, match="no such file or directory"):
        read_log(tmp_path / "nowhere")


def test_literals_and_missing_fields_of_other_trainers(tmp_path):
    path = tmp_path / "trainer_state.json"
    path.write_text(
        '{"max_steps": -1, "log_history": [{"loss": NaN, "step": 1}, {"loss": 2.0, "grad_norm": Infinity, "step": 2}, {"loss": null, "step": 3}, {}, 7]}'
    )
    log = read_log(path)[0][1]
    assert log.not_finite == [1, 2]
    assert np.isnan(log.lr).all()
    assert log_rules.findings(log)[0].rule == "not-finite"


def test_the_newest_state_of_an_output_directory_is_read(tmp_path):
    for folder, loss in (("checkpoint-5", 3.0), ("checkpoint-10", 2.0)):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "trainer_state.json").write_text(
            json.dumps({"log_history": [{"loss": loss, "step": 1}]})
        )
    assert read_log(tmp_path)[0][1].loss.tolist() == [2.0]


@pytest.mark.parametrize("name", ["frozen-adapter", "poisoned-batch", "rate-too-high"])
def test_the_live_doctor_speaks_once_and_the_same_after_a_stop(name, recipe):
    events = [event for event in read_events(CASES / f"{name}.jsonl") if event.event != "finding"]
    half = len(events) // 2
    whole = FollowedRun(recipe())
    for event in events:
        whole.emit(event)
    rules = [(finding.rule, finding.severity) for finding in whole.findings()]
    assert len(set(rules)) == len(rules) > 0
    first, second = FollowedRun(recipe()), FollowedRun(recipe())
    for event in events[:half]:
        first.emit(event)
    second.log = list(first.log)
    second.doctor.on_resume(second, second.log)
    for event in events[half:]:
        second.emit(event)
    assert second.log == whole.log


class FollowedRun:
    """A run as the live doctor sees it: its log, into which findings are written."""

    name = "run"

    def __init__(self, recipe):
        self.recipe, self.doctor, self.log = recipe, LiveDoctor(), []

    def emit(self, event):
        self.log.append(event)
        dispatch([self.doctor], self, event)

    report = emit

    def findings(self):
        return [event for event in self.log if event.event == "finding"]
