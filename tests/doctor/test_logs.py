"""Any trainer's log is read, or refused in a line."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from logged_cases import CASES

from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.log import EvalLine, LogBuilder, TrainLine
from paceline.doctor.logs.read import read_log
from paceline.errors import PacelineError

CONSOLE = """
some warning from a library
  0%|          | 0/10 [00:00<?, ?it/s]
{'loss': 2.5, 'grad_norm': 1.2, 'learning_rate': 1e-05, 'epoch': 0.1}
{'loss': '2.4', 'grad_norm': '1.1', 'learning_rate': '9e-06', 'epoch': '0.2'}
 20%|██        | 2/10 [00:02<00:08]{'loss': nan, 'grad_norm': inf, 'learning_rate': 8e-06, 'epoch': 0.3}
{'loss': -inf, 'grad_norm': 1.0, 'learning_rate': 7e-06, 'epoch': 0.4}
{'eval_loss': 2.3, 'eval_runtime': 1.0, 'epoch': 0.3}
{'traintime': 3.0, 'train_loss': 2.4, 'epoch': 0.3}
"""


def test_a_builder_fills_in_steps_and_marks_what_is_missing() -> None:
    builder = LogBuilder()
    assert builder.empty
    builder.add_train(TrainLine(loss=2.0))
    builder.add_train(TrainLine(loss=float("nan"), lr=1e-4))
    builder.add_evaluation(EvalLine(loss=1.5))
    log = builder.build(batch_size=3)
    assert (log.step.tolist(), log.eval_step.tolist(), log.not_finite) == ([1, 2], [2], [2])
    assert np.isnan(log.lr[0])
    assert np.isnan(log.eval_accuracy).all()
    assert (len(log), log.batch_size, log.ended) == (2, 3, True)


def test_a_long_log_is_thinned_evenly() -> None:
    builder = LogBuilder()
    for _ in range(100_000):
        builder.add_train(TrainLine(loss=1.0))
    steps = builder.build().step
    assert 20_000 <= len(steps) <= 40_000
    assert len(set(np.diff(steps).tolist())) == 1


def test_a_console_log(tmp_path: Path) -> None:
    path = tmp_path / "train.log"
    path.write_text(CONSOLE)
    log = read_log(path)[0][1]
    assert log.loss[:2].tolist() == [2.5, 2.4]
    assert log.not_finite == [3, 4]
    assert log.eval_loss.tolist() == [2.3]
    assert log_rules.findings(log)[0].rule == "not-finite"


@pytest.mark.slow
def test_a_long_console_log_takes_bounded_memory(tmp_path: Path) -> None:
    """Forty-five megabytes, one line of eighteen among them; peak memory must not grow with the file."""
    path = tmp_path / "long.log"
    with path.open("w") as file:
        file.write("█" * 6_000_000 + "\n")
        for step in range(300_000):
            figures = f"'loss': {2 + 1 / (step + 1):.6f}, 'grad_norm': 1.0, 'learning_rate': 1e-05"
            file.write(f"{{{figures}, 'epoch': {step / 1e5:.4f}}}\n")
    # The kernel's own peak: that of getrusage begins at the parent's.
    code = (
        "from pathlib import Path; from paceline.doctor.logs.read import read_log;"
        "peak = lambda: int(Path('/proc/self/status').read_text().split('VmHWM:')[1].split()[0]);"
        f"before = peak(); log = read_log(Path({str(path)!r}))[0][1];"
        "print(len(log), peak() - before)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    lines, kilobytes = map(int, done.stdout.split())
    assert 20_000 <= lines <= 40_000
    assert kilobytes < 40_000


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("trainer_state.json", '{"log_history": [{"loss": 1.0}, {"lo', "line 1 column"),
        ("trainer_state.json", "[]", "no `log_history`"),
        ("train.log", "nothing here\n", "no logged step and no evaluation in it"),
    ],
)
def test_what_is_no_log_is_refused_in_a_line(tmp_path: Path, name: str, content: Any, message: Any) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(PacelineError, match=message) as caught:
        read_log(tmp_path / name)
    assert "\n" not in str(caught.value)


def test_an_empty_directory_is_refused(tmp_path: Path) -> None:
    message = r"neither a run \(events.jsonl\), a study, nor an output directory"
    with pytest.raises(PacelineError, match=message):
        read_log(tmp_path)
    with pytest.raises(PacelineError, match="no such file or directory"):
        read_log(tmp_path / "nowhere")


def test_literals_and_missing_fields_of_other_trainers(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    lines = [
        '{"loss": NaN, "step": 1}',
        '{"loss": 2.0, "grad_norm": Infinity, "step": 2}',
        '{"loss": null, "step": 3}',
        '{"loss": "n/a", "step": "?"}',
        "{}",
        "7",
    ]
    path.write_text(f'{{"max_steps": -1, "log_history": [{", ".join(lines)}]}}')
    log = read_log(path)[0][1]
    assert log.not_finite == [1, 2]
    assert np.isnan(log.lr).all()
    assert log_rules.findings(log)[0].rule == "not-finite"


def test_the_newest_state_of_an_output_directory_is_read(tmp_path: Path) -> None:
    for folder, loss in (("checkpoint-5", 3.0), ("checkpoint-10", 2.0)):
        (tmp_path / folder).mkdir()
        state = {"log_history": [{"loss": loss, "step": 1}]}
        (tmp_path / folder / "trainer_state.json").write_text(json.dumps(state))
    assert read_log(tmp_path)[0][1].loss.tolist() == [2.0]


def test_a_run_is_read_by_its_directory_its_study_and_its_event_log(tmp_path: Path) -> None:
    (tmp_path / "study" / "run").mkdir(parents=True)
    events = tmp_path / "study" / "run" / "events.jsonl"
    events.write_bytes((CASES / "linear.jsonl").read_bytes())
    for path in (events, events.parent, tmp_path / "study"):
        ((name, log),) = read_log(path)
        assert (name, len(log) > 10, log.base_loss is not None) == ("run", True, True)
