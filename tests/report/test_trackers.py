"""Each tracker gets a run's figures; an unknown one is refused; a tracker's fault is not the run's."""

import math
import sys
import types
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from helpers import MakeRecipe, MakeStudy, StopWhen
from paceline.errors import ConfigError, MissingExtra, RunError
from paceline.report.metrics import fetch
from paceline.report.trackers import Trackers, check_trackers, registry
from paceline.report.trackers.base import figures
from paceline.report.trackers.registry import find_tracker
from paceline.runs.directory import RunDirectory
from paceline.runs.events import ScoreEvent, TrainEvent, of_kind, read_events
from paceline.training.study import TrainingOptions, train_study

LOSS = {"train/loss": 2.0, "train/lr": 1e-4}


def logged_losses(folder: Any) -> Any:
    """{step: loss} of a run's log."""
    return {event.step: event.loss for event in of_kind(read_events(folder / "events.jsonl"), TrainEvent)}


@pytest.fixture
def run(recipe: MakeRecipe, tmp_path: Path) -> Any:
    """A run as a tracker sees it."""
    directory = RunDirectory(tmp_path / "study" / "a")
    made = recipe(track_project="mine", lora_r=8)
    directory.claim(made)
    return types.SimpleNamespace(name="a", study="study", directory=directory, recipe=made)


def test_tensorboard_has_every_logged_loss_once_also_after_a_stop(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    tracked = study(a=recipe(max_steps=6, eval_steps=3, save_steps=1, track="tensorboard"))
    stop = StopWhen(lambda cohort: cohort.runs[0].step >= 4)
    for others in ([stop], []):
        with Trackers(print) as trackers:
            train_study(tracked, tmp_path, TrainingOptions(callbacks=[trackers, *others]))
    curves = EventAccumulator(str(tmp_path / "tensorboard" / "a")).Reload()
    losses = logged_losses(tmp_path / "a")
    points = [(point.step, point.value) for point in curves.Scalars("train/loss")]
    assert [step for step, _ in points] == list(losses)
    assert [value for _, value in points] == pytest.approx(list(losses.values()))
    assert {point.step for point in curves.Scalars("eval/loss")} == {0, 3, 6}


def test_trackio_gets_project_run_recipe_and_figures(
    recipe: MakeRecipe,
    study: MakeStudy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))
    from trackio.sqlite_storage import SQLiteStorage

    fields = {"max_steps": 3, "logging_steps": 1, "track": "trackio", "track_project": "mine"}
    tracked = study(a=recipe(**fields, seed=0), b=recipe(**fields, seed=1))
    with Trackers(print) as trackers:
        train_study(tracked, tmp_path / "runs", TrainingOptions(callbacks=[trackers]))
    for name in "ab":
        sent = [line["train/loss"] for line in SQLiteStorage.get_logs("mine", name) if "train/loss" in line]
        assert sent == pytest.approx(list(logged_losses(tmp_path / "runs" / name).values()))
        ours = fetch(str(tmp_path / "runs" / name), "runs")
        theirs = [point for point in fetch("mine", "trackio") if point.run == name]
        assert [point.step for point in theirs] == [point.step for point in ours] == [0, 1, 2, 3, 3]
        for here, there in zip(ours, theirs, strict=True):
            assert there.figures == pytest.approx(here.figures)
        assert [point.figures["update/q_proj"] for point in theirs if "train/loss" in point.figures][-1] > 0
    with pytest.raises(RunError, match="Trackio has no project 'other'"):
        fetch("other", "trackio")
    assert capsys.readouterr().out == ""


def test_wandb_runs_are_open_at_once_and_go_on_under_their_id(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    wandb = MagicMock()
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    for _ in range(2):
        tracker = find_tracker("wandb")(run)
        tracker.log(LOSS, 3)
        tracker.close()
    first, second = (call.kwargs for call in wandb.init.call_args_list)
    assert first == second
    assert (first["project"], first["name"], first["resume"]) == ("mine", "a", "allow")
    assert first["reinit"] == "create_new"
    assert first["config"]["lora_r"] == 8
    assert first["id"] == (run.directory.path / "wandb-id").read_text()
    wandb.init.return_value.log.assert_called_with({**LOSS, "step": 3})
    wandb.init.return_value.define_metric.assert_called_with("*", step_metric="step")
    assert wandb.init.return_value.finish.call_count == 2


def test_mlflow_gets_parameters_and_metrics_and_goes_on_under_its_id(
    run: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    entities = types.SimpleNamespace(Metric=lambda *fields: fields, Param=lambda *fields: fields)
    client = MagicMock()
    client.get_experiment_by_name.return_value = None
    client.create_run.return_value.info.run_id = "id-of-the-server"
    mlflow = types.SimpleNamespace(MlflowClient=lambda: client, entities=entities)
    monkeypatch.setitem(sys.modules, "mlflow", mlflow)
    monkeypatch.setitem(sys.modules, "mlflow.entities", entities)
    for _ in range(2):
        tracker = find_tracker("mlflow")(run)
        tracker.log(LOSS, 3)
        tracker.close()
    client.create_experiment.assert_called_once_with("mine")
    client.create_run.assert_called_once_with(client.create_experiment.return_value, run_name="a")
    batches = [call.kwargs for call in client.log_batch.call_args_list]
    params = [param for batch in batches for param in batch.get("params", ())]
    assert ("lora_r", "8") in params
    metrics = [batch["metrics"] for batch in batches if "metrics" in batch]
    assert [(name, value, step) for name, value, _, step in metrics[0]] == [
        ("train/loss", 2.0, 3),
        ("train/lr", 1e-4, 3),
    ]
    client.set_terminated.assert_called_with("id-of-the-server")


def test_a_tracker_of_another_package(monkeypatch: pytest.MonkeyPatch, recipe: MakeRecipe) -> None:
    entry = EntryPoint("theirs", "collections:Counter", registry.GROUP)
    broken = EntryPoint("broken", "no_such_package:Tracker", registry.GROUP)
    entries = {"theirs": [entry], "broken": [broken], None: [entry, broken]}
    monkeypatch.setattr(registry, "entry_points", lambda group, name=None: entries.get(name, []))
    assert find_tracker("theirs").__name__ == "Counter"
    with pytest.raises(ConfigError, match=r"tracker 'broken' \(no_such_package:Tracker\) cannot be loaded"):
        find_tracker("broken")
    unknown = recipe().model_copy(update={"track": "their"})
    with pytest.raises(ConfigError, match="no tracker 'their', did you mean 'theirs'"):
        check_trackers([recipe(), unknown])


def test_an_unknown_tracker_is_refused_with_the_nearest_name(recipe: MakeRecipe) -> None:
    unknown = recipe().model_copy(update={"track": "wandbb"})
    names = "none, trackio, tensorboard, wandb, mlflow"
    with pytest.raises(ConfigError, match=f"no tracker 'wandbb', did you mean 'wandb'.; there are {names}"):
        check_trackers([unknown])


def test_a_tracker_without_its_library_names_the_extra(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    wandb = recipe().model_copy(update={"track": "wandb"})
    with pytest.raises(MissingExtra, match=r"`track: wandb` needs wandb; .*paceline\[wandb\]"):
        check_trackers([wandb])


def test_a_tracker_that_fails_is_named_once_and_harms_nothing(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = types.ModuleType("trackio")
    broken.init = lambda **options: (_ for _ in ()).throw(OSError("no line"))
    monkeypatch.setitem(sys.modules, "trackio", broken)
    lines = []
    with Trackers(lines.append) as trackers:
        options = TrainingOptions(callbacks=[trackers])
        outcome = train_study(study(a=recipe(max_steps=3, track="trackio")), tmp_path, options)
    assert outcome.states() == {"a": "finished"}
    assert lines == ["a: trackio failed and gets no more figures (OSError: no line)"]


def test_figures_are_the_plain_numbers() -> None:
    event = ScoreEvent(step=3, epoch=0.5, name="eval", score=math.nan, seconds=1.5)
    assert figures(event) == {"mtbench/epoch": 0.5, "mtbench/seconds": 1.5}
