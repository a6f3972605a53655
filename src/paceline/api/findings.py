"""What the doctor finds, as a list that shows itself, and the error of a check that found too much."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from markupsafe import Markup

from paceline.api.html import paragraph, table
from paceline.doctor.finding import Finding, in_order
from paceline.errors import ConfigError
from paceline.runs.files import JsonObject

if TYPE_CHECKING:
    import pandas as pd


class Findings(tuple[Finding, ...]):
    """Findings, worst first: a tuple that a notebook shows as a table."""

    __slots__ = ()

    def __new__(cls, findings: Iterable[Finding] = ()) -> Findings:
        return super().__new__(cls, in_order(findings))

    @property
    def errors(self) -> Findings:
        """Those that a run should not be started with, or that spoil its result."""
        return Findings(finding for finding in self if finding.severity == "error")

    def of_run(self, name: str) -> Findings:
        """Those about one run; a finding may be about several."""
        return Findings(finding for finding in self if name in finding.run.split(", "))

    def grouped(self) -> list[Finding]:
        """The same finding of several runs once, with all their names."""
        grouped: dict[tuple[str, str, str], list[Finding]] = {}
        for f in self:
            grouped.setdefault((f.severity, f.rule, f.message), []).append(f)
        names = ({f.run: None for f in same if f.run} for same in grouped.values())
        return [
            replace(same[0], run=", ".join(runs)) for same, runs in zip(grouped.values(), names, strict=True)
        ]

    def to_dict(self) -> list[JsonObject]:
        """One JSON-ready mapping a finding."""
        return [finding.as_dict() for finding in self]

    def to_pandas(self) -> pd.DataFrame:
        """One row a finding, a column for each of its fields."""
        import pandas as pd

        return pd.DataFrame(self.to_dict())

    def _repr_html_(self) -> Markup:
        if not self:
            return paragraph("nothing found")
        rows = [(f.severity, f.rule, f.run, f.message, change_of(f)) for f in self.grouped()]
        return table(("severity", "rule", "run", "what was found", "what to try"), rows)


def change_of(finding: Finding) -> str:
    """What a finding advises: `try lr: 0.0001; or a smaller batch`, or nothing."""
    fields = [f"{field}: {'null' if value is None else value}" for field, value in finding.fix.items()]
    advice = [f"try {', '.join(fields)}"] if fields else []
    return "; ".join([*advice, *([finding.advice] if finding.advice else [])])


class CheckFailed(ConfigError):  # noqa: N818 - says what happened, as a finished check does
    """The check before training found an error, and nothing was trained.

    Attributes:
        findings: all that it found, worst first. `check=False` trains in spite of them.
    """

    def __init__(self, findings: Findings) -> None:
        self.findings = findings
        errors = "; ".join(f"{f.message} ({f.rule}{f', {f.run}' if f.run else ''})" for f in findings.errors)
        super().__init__(f"the check before training found what will go wrong: {errors}")

    def __reduce__(self) -> tuple[type[CheckFailed], tuple[Findings]]:
        """Pickled by what it was made from: a task on another node raises it too."""
        return CheckFailed, (self.findings,)
