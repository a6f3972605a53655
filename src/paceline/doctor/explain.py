"""What a rule means, by its name. Needs no torch."""

from __future__ import annotations

from paceline.doctor.finding import Rules, Subject
from paceline.doctor.log_rules import log_rules
from paceline.doctor.preflight_rules import cohort_rules, preflight_rules
from paceline.errors import ConfigError, nearest


def explain(name: str) -> str:
    """The explanation of a rule: what a finding means, how it is computed, what to try, where it comes from.

    Raises:
        ConfigError: no such rule.
    """
    explanations = _explanations(preflight_rules) | _explanations(cohort_rules) | _explanations(log_rules)
    if name not in explanations:
        raise ConfigError(
            f"no rule {name!r}{nearest(name, explanations)}; there are {', '.join(explanations)}"
        )
    return explanations[name]


def _explanations(rules: Rules[Subject]) -> dict[str, str]:
    return {rule.name: rule.explanation for rule in rules}
