"""Findings, and the rules that make them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import EntryPoint, entry_points
from typing import Generic, TypeAlias, TypeVar, cast, get_args

from paceline.runs.events import FindingEvent, Severity

Value: TypeAlias = "str | int | float | bool | Sequence[Value] | Mapping[str, Value] | None"
"""A plain value, as JSON and YAML write it."""

SEVERITIES: tuple[Severity, ...] = get_args(Severity)
"""Worst first."""

Subject = TypeVar("Subject")
Check: TypeAlias = Callable[[Subject], "Finding | None"]


@dataclass(frozen=True, kw_only=True)
class Finding:
    """What a rule found: one sentence with its evidence in numbers, and what to change.

    `fix` maps dotted recipe fields to the values to set; `advice` says what no field can.
    """

    severity: Severity
    message: str
    evidence: Mapping[str, Value] = field(default_factory=dict)
    fix: Mapping[str, Value] = field(default_factory=dict)
    advice: str = ""
    rule: str = ""
    run: str = ""

    def as_dict(self) -> dict[str, Value]:
        """The finding for a script, as `--json` prints it."""
        return asdict(self)

    def at(self, step: int) -> FindingEvent:
        """The finding as a line of its run's log."""
        return FindingEvent(
            step=step,
            rule=self.rule,
            severity=self.severity,
            message=self.message,
            evidence=dict(self.evidence),
            fix=dict(self.fix),
            advice=self.advice,
        )


@dataclass(frozen=True, kw_only=True)
class Rule(Generic[Subject]):
    """A named check. Its docstring says what a finding means and why the thresholds are what they are."""

    name: str
    check: Check[Subject]

    @property
    def explanation(self) -> str:
        """The docstring of the check."""
        return inspect.getdoc(self.check) or ""

    def __call__(self, subject: Subject) -> Finding | None:
        """What the rule finds. A rule that raises is reported, so that the others still speak."""
        try:
            finding = self.check(subject)
            if not isinstance(finding, Finding | None):
                raise TypeError(f"it returned a {type(finding).__name__}, not a Finding")
        except Exception as error:
            reason = f"{type(error).__name__}: {' '.join(str(error).split())}"
            return Finding(severity="warning", message=f"rule {self.name} failed: {reason}", rule=self.name)
        return None if finding is None else replace(finding, rule=self.name)


class Rules(Generic[Subject]):
    """The rules for one kind of subject, most important first.

    Other packages add theirs as entry points of a group, each named as its rule is to be called; they are
    loaded when the rules are first used, and come after ours.

    Args:
        checks: our own, in the order of importance.
        group: the group of entry points.
    """

    def __init__(self, checks: Iterable[Check[Subject]], group: str) -> None:
        self._checks, self._group = list(checks), group

    def __iter__(self) -> Iterator[Rule[Subject]]:
        return iter(self._rules)

    def findings(self, subject: Subject, run: str = "") -> list[Finding]:
        """What all rules find, worst first, then in the order of the rules."""
        return in_order(replace(finding, run=run) for rule in self if (finding := rule(subject)))

    @cached_property
    def _rules(self) -> list[Rule[Subject]]:
        ours = [Rule(name=check.__name__.replace("_", "-"), check=check) for check in self._checks]
        taken = {rule.name for rule in ours}
        return [*ours, *(_plugged_in(entry, taken) for entry in entry_points(group=self._group))]


def _plugged_in(entry: EntryPoint, taken: set[str]) -> Rule[Subject]:
    """Another package's rule; one that cannot be loaded fails each time it is asked."""
    try:
        if entry.name in taken:
            raise ValueError(f"{entry.value} bears the name of a rule of Paceline's")
        return Rule(name=entry.name, check=cast(Check[Subject], entry.load()))
    except Exception as error:
        reason = error

    def fail(subject: Subject) -> Finding | None:
        raise reason

    return Rule(name=entry.name, check=fail)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first; findings of the same severity keep their order."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))
