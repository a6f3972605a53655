"""The rules at work while a run trains."""

from __future__ import annotations

from typing import Any

from paceline.config.recipe import Recipe
from paceline.doctor.log import LogBuilder
from paceline.doctor.log_rules import log_rules


class LiveDoctor:
    """Follows one run's events. Each rule speaks once, when it first finds something.

    What it says is a function of the events alone, so a resumed run, whose past events it is shown first, says the same as one never stopped.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._batch_size = recipe.batch_size
        self._builder = LogBuilder()
        self._told: set[str] = set()

    def __call__(self, event: dict[str, Any]) -> list[dict[str, Any]]:
        """The new findings that an event brings, as fields of a `finding` event."""
        if not self._builder.event(event) or event["event"] == "start":
            return []
        log = self._builder.log(self._batch_size)
        new = [
            finding
            for finding in log_rules.findings(log)
            if finding.rule not in self._told and finding.severity != "note"
        ]
        self._told |= {finding.rule for finding in new}
        return [{key: value for key, value in finding.as_dict().items() if key != "run"} for finding in new]
