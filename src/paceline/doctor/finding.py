"""Findings, and the rules that make them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Generic, Literal, TypeVar

from paceline.errors import ConfigError, nearest

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")
Subject = TypeVar("Subject")


@dataclass(frozen=True)
class Finding:
    """What a rule found: one sentence with its evidence in numbers, and what to change.

    `fix` maps dotted recipe fields to the values to set; `advice` says in words what no field does.
    """

    severity: Severity
    message: str
    evidence: dict[str, Any] = field(default_factory=dict)
    fix: dict[str, Any] = field(default_factory=dict)
    advice: str = ""
    rule: str = ""
    run: str = ""

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Rule(Generic[Subject]):
    """A rule: its name, and the function that looks at a case. The function's docstring says what it means, and why its thresholds are what they are."""

    name: str
    look: Callable[[Subject], Finding | None]

    @property
    def text(self) -> str:
        return inspect.getdoc(self.look) or ""


class Rules(Generic[Subject]):
    """The rules for one kind of case, most important first."""

    def __init__(self) -> None:
        self.rules: list[Rule[Subject]] = []

    def __call__(self, look: Callable[[Subject], Finding | None]) -> Callable[[Subject], Finding | None]:
        """Decorator: adds a rule named after its function."""
        self.rules.append(Rule(look.__name__.replace("_", "-"), look))
        return look

    def __iter__(self) -> Iterator[Rule[Subject]]:
        return iter(self.rules)

    def findings(self, case: Subject, run: str = "") -> list[Finding]:
        """What all rules find, worst first, then in the order of the rules."""
        found = [
            replace(finding, rule=rule.name, run=run) for rule in self.rules if (finding := rule.look(case))
        ]
        return in_order(found)


def in_order(findings: Iterable[Finding]) -> list[Finding]:
    """Worst first; the order among equals stays."""
    return sorted(findings, key=lambda finding: SEVERITIES.index(finding.severity))


def explain(name: str, rules: Iterable[Rule[Any]]) -> str:
    """What a rule means.

    Raises:
        ConfigError: no such rule.
    """
    known = {rule.name: rule for rule in rules}
    if name not in known:
        raise ConfigError(f"no rule {name!r}{nearest(name, known)}; there are {', '.join(known)}")
    return known[name].text
