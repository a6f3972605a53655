"""Trackers and the live view: what they show, and that a tracker's fault is not the run's."""

import math
import sys
import types

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers import StopWhen
from paceline.report.trackers import Trackers, figures
from paceline.report.watch import picture, sparkline
from paceline.runs.events import ScoreEvent, TrainEvent, of_kind, read_events
from paceline.train.study import TrainingOptions, train_study


def test_tensorboard_has_every_logged_loss_once_also_after_a_stop(recipe, study, tmp_path):
    wanted = {"a": recipe(max_steps=6, eval_steps=3, save_steps=1, track="tensorboard")}

    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 4)
    for others in ([stop], []):
        with Trackers(print) as trackers:
            train_study(study(**wanted), tmp_path, TrainingOptions(callbacks=[trackers, *others]))
    shown = EventAccumulator(str(tmp_path / "tensorboard" / "a")).Reload()
    events = read_events(tmp_path / "a" / "events.jsonl")
    logged = {event.step: event.loss for event in of_kind(events, TrainEvent)}
    drawn = [(point.step, point.value) for point in shown.Scalars("train/loss")]
    assert [step for step, _ in drawn] == list(logged)
    assert [value for _, value in drawn] == pytest.approx(list(logged.values()))
    assert {point.step for point in shown.Scalars("eval/loss")} == {0, 3, 6}


def test_trackio_gets_project_run_recipe_and_figures(recipe, study, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    wanted = {
        name: recipe(max_steps=3, track="trackio", track_project="mine", seed=seed)
        for seed, name in enumerate("ab")
    }
    with Trackers(print) as trackers:
        train_study(study(**wanted), tmp_path / "runs", TrainingOptions(callbacks=[trackers]))
    for name in wanted:
        lines = SQLiteStorage.get_logs("mine", name)
        assert [line["train/loss"] for line in lines if "train/loss" in line] == pytest.approx(
            [
                event.loss
                for event in of_kind(read_events(tmp_path / "runs" / name / "events.jsonl"), TrainEvent)
            ]
        )
    assert capsys.readouterr().out == ""


def test_a_tracker_that_fails_is_told_once_and_harms_nothing(recipe, study, tmp_path, monkeypatch):
    broken = types.ModuleType("trackio")
    broken.init = lambda **options: (_ for _ in ()).throw(OSError("no line"))
    monkeypatch.setitem(sys.modules, "trackio", broken)
    told = []
    with Trackers(told.append) as trackers:
        options = TrainingOptions(callbacks=[trackers])
        outcome = train_study(study(a=recipe(max_steps=3, track="trackio")), tmp_path, options)
    assert outcome.states() == {"a": "finished"}
    assert told == ["a: trackio failed and is left alone (OSError: no line)"]


def test_figures_are_the_plain_numbers():
    event = ScoreEvent(step=3, epoch=0.5, name="eval", score=math.nan, seconds=1.5)
    assert figures(event) == {"mtbench/epoch": 0.5, "mtbench/seconds": 1.5}


def test_the_live_view_shows_what_the_files_say(recipe, study, tmp_path, capsys):
    from rich.console import Console

    options = TrainingOptions(callbacks=[StopWhen(lambda cohort: cohort.runs[0].step >= 3)])
    train_study(study(a=recipe(max_steps=6), b=recipe(max_steps=6, seed=3)), tmp_path, options)
    shown, done = picture(tmp_path)
    console = Console(width=200, record=True)
    console.print(shown)
    text = console.export_text()
    assert done
    assert "stopped" in text
    assert "/6" in text
    (tmp_path / "a" / "status.json").write_text('{"state": "running"}')
    assert not picture(tmp_path)[1]
    assert sparkline([1.0, 2.0, 3.0]) == "▁▄█" or sparkline([1.0, 2.0, 3.0])[0] == "▁"
    assert sparkline([2.0, 2.0]) == "▁▁"
    assert len(sparkline([float(i) for i in range(1000)])) <= 24
