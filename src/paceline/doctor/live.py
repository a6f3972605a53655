"""The log rules at work while runs train."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from paceline.doctor.log_rules import log_rules
from paceline.doctor.logs.log import LogBuilder
from paceline.doctor.logs.ours import add_event, noisy_batch
from paceline.runs.events import EvalEvent, Event, FindingEvent, StartEvent, TrainEvent
from paceline.training.callbacks import Callback, RunView


@dataclass
class _RunLog:
    """One run's log so far, and the (rule, severity) of every finding in it."""

    builder: LogBuilder = field(default_factory=LogBuilder)
    reported: set[tuple[str, str]] = field(default_factory=set)

    def add(self, event: Event) -> bool:
        """Adds an event; whether it says anything that a rule reads."""
        if isinstance(event, FindingEvent):
            self.reported.add((event.rule, event.severity))
        return add_event(self.builder, event)


class LiveDoctor(Callback):
    """Reports what the log rules find in each run as it trains; notes are left for later.

    Each rule speaks once at each severity. What it says depends on the events alone, so a resumed run,
    whose past events are shown to it first, gets the same findings as one that was never stopped; only
    `slower-and-slower` reads seconds, which neighbours and the machine have a part in.
    """

    def __init__(self) -> None:
        self._logs: dict[str, _RunLog] = {}

    def on_start(self, run: RunView, event: StartEvent) -> None:
        self._logs[run.name] = _RunLog()
        self._logs[run.name].add(event)

    def on_resume(self, run: RunView, events: Sequence[Event]) -> None:
        self._logs[run.name] = _RunLog()
        for event in events:
            self._logs[run.name].add(event)

    def on_finding(self, run: RunView, event: FindingEvent) -> None:
        self._logs[run.name].add(event)

    def on_log(self, run: RunView, event: TrainEvent) -> None:
        self._examine(run, event)

    def on_evaluation(self, run: RunView, event: EvalEvent) -> None:
        self._examine(run, event)

    def _examine(self, run: RunView, event: TrainEvent | EvalEvent) -> None:
        log = self._logs[run.name]
        if not log.add(event):
            return
        for finding in log_rules.findings(log.builder.build(noisy_batch(run.recipe))):
            if finding.severity != "note" and (finding.rule, finding.severity) not in log.reported:
                run.report(finding.at(event.step))
