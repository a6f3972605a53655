"""trainer_state.json: transformers reads a run's history from it."""

from pathlib import Path

import pytest
from transformers import TrainerState

from paceline.runs.events import EvalEvent, Event, FailedEvent, TrainEvent
from paceline.runs.trainer_state import write_trainer_state


def step(number: int, loss: float) -> TrainEvent:
    return TrainEvent(
        step=number,
        epoch=number / 10,
        loss=loss,
        lr=1e-4,
        grad_norm=0.5,
        token_accuracy=0.25,
        tokens=100 * number,
        supervised_tokens=50 * number,
        seconds=1.0,
    )


def evaluation(number: int, loss: float) -> EvalEvent:
    return EvalEvent(
        step=number,
        epoch=number / 10,
        name="eval",
        seconds=2.0,
        examples=3,
        tokens=30,
        loss=loss,
        perplexity=9.0,
        token_accuracy=0.5,
    )


def test_transformers_reads_the_history(tmp_path: Path) -> None:
    events: list[Event] = [
        evaluation(0, 3.0),
        step(1, 2.5),
        step(2, 2.4),
        evaluation(2, 2.1),
        FailedEvent(step=3, reason="r"),
    ]
    events.insert(4, evaluation(2, 2.2))
    path = tmp_path / "trainer_state.json"
    write_trainer_state(events, path, max_steps=20, epochs=2)
    state = TrainerState.load_from_json(str(path))
    assert (state.global_step, state.max_steps, state.num_train_epochs) == (2, 20, 2)
    assert state.epoch == pytest.approx(0.2)
    assert state.best_metric == 2.1
    assert [entry["step"] for entry in state.log_history] == [0, 1, 2, 2, 2]
    assert state.log_history[1] == {
        "step": 1,
        "epoch": 0.1,
        "loss": 2.5,
        "learning_rate": 1e-4,
        "grad_norm": 0.5,
        "mean_token_accuracy": 0.25,
        "num_tokens": 100,
    }
    assert state.log_history[0] == {
        "step": 0,
        "epoch": 0.0,
        "eval_loss": 3.0,
        "eval_mean_token_accuracy": 0.5,
        "eval_runtime": 2.0,
    }


def test_a_run_without_a_step_has_an_empty_history(tmp_path: Path) -> None:
    path = tmp_path / "trainer_state.json"
    write_trainer_state([], path, max_steps=20, epochs=1.5)
    state = TrainerState.load_from_json(str(path))
    assert (state.global_step, state.log_history, state.best_metric) == (0, [], None)
