"""The live doctor speaks once, also over a stop, and an error of its ends a run where the recipe says so."""

from pathlib import Path
from typing import Any, cast

import pytest
import torch
from logged_cases import case_events

from helpers import MakeRecipe, MakeStudy
from paceline.doctor.live import LiveDoctor
from paceline.runs.events import FindingEvent, of_kind, read_events
from paceline.training.callbacks import dispatch
from paceline.training.study import TrainingOptions, train_study


class FollowedRun:
    """A run as the live doctor sees it: its log, into which findings are written."""

    name = "run"

    def __init__(self, recipe: Any) -> None:
        self.recipe, self.doctor, self.log = recipe, LiveDoctor(), []

    def emit(self, event: Any) -> None:
        self.log.append(event)
        dispatch([self.doctor], cast(Any, self), event)

    report = emit


@pytest.mark.parametrize("name", ["frozen-adapter", "poisoned-batch", "rate-too-high"])
def test_it_speaks_once_and_the_same_after_a_stop(name: str, recipe: MakeRecipe) -> None:
    events = [event for event in case_events(name) if not isinstance(event, FindingEvent)]
    half = len(events) // 2
    whole = FollowedRun(recipe())
    for event in events:
        whole.emit(event)
    findings = [(finding.rule, finding.severity) for finding in of_kind(whole.log, FindingEvent)]
    assert len(set(findings)) == len(findings) > 0
    first, second = FollowedRun(recipe()), FollowedRun(recipe())
    for event in events[:half]:
        first.emit(event)
    second.log = list(first.log)
    second.doctor.on_resume(cast(Any, second), second.log)
    for event in events[half:]:
        second.emit(event)
    assert second.log == whole.log


def test_an_error_while_training_stops_that_run_alone(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    torch.manual_seed(0)
    dead = recipe(lr=1e-30, eval_steps=2, max_steps=20, on_error="stop", warmup_ratio=0)
    options = TrainingOptions(callbacks=[LiveDoctor()])
    outcome = train_study(study(dead=dead, fine=recipe(max_steps=3)), tmp_path, options)
    assert outcome.states() == {"dead": "failed", "fine": "finished"}
    events = read_events(tmp_path / "dead" / "events.jsonl")
    assert [finding.rule for finding in of_kind(events, FindingEvent)] == ["same-eval"]
    assert "to the last digit" in outcome.directories[0].status().reason
