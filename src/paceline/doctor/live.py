"""The log rules at work while runs train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.doctor.log import LogBuilder
from paceline.doctor.log_rules import log_rules
from paceline.runs.events import EvalEvent, Event, FindingEvent, StartEvent, TrainEvent, of_kind
from paceline.train.callbacks import Callback, RunView


@dataclass
class _Followed:
    """One run's log so far, and what was told of it: (rule, severity)."""

    builder: LogBuilder = field(default_factory=LogBuilder)
    told: set[tuple[str, str]] = field(default_factory=set)


class LiveDoctor(Callback):
    """Reports what the log rules find in each run as it trains; notes stay for later.

    Each rule speaks once at each severity. What it says is a function of the events alone, so a resumed run, whose
    past events it is shown first, says the same as one never stopped.
    """

    def __init__(self) -> None:
        self._runs: dict[str, _Followed] = {}

    def on_start(self, run: RunView, event: StartEvent) -> None:
        self._runs[run.name] = _Followed()
        self._runs[run.name].builder.event(event)

    def on_resume(self, run: RunView, events: Sequence[Event]) -> None:
        followed = self._runs[run.name] = _Followed()
        for event in events:
            followed.builder.event(event)
        followed.told = {(finding.rule, finding.severity) for finding in of_kind(events, FindingEvent)}

    def on_finding(self, run: RunView, event: FindingEvent) -> None:
        self._runs[run.name].told.add((event.rule, event.severity))

    def on_log(self, run: RunView, event: TrainEvent) -> None:
        self._look(run, event)

    def on_evaluation(self, run: RunView, event: EvalEvent) -> None:
        self._look(run, event)

    def _look(self, run: RunView, event: TrainEvent | EvalEvent) -> None:
        followed = self._runs[run.name]
        if not followed.builder.event(event):
            return
        for finding in log_rules.findings(followed.builder.log(run.recipe.final_batch_size)):
            if finding.severity != "note" and (finding.rule, finding.severity) not in followed.told:
                fields = {key: value for key, value in finding.as_dict().items() if key != "run"}
                run.report(FindingEvent(step=event.step, **fields))
