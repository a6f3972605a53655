"""Rules and what they find: order, failures, other packages' rules, explanations."""

import json
from importlib.metadata import EntryPoint
from typing import Any

import pytest

from paceline.doctor import finding as module
from paceline.doctor.explain import explain
from paceline.doctor.finding import Finding, Rules, in_order
from paceline.errors import ConfigError


def minor(subject: Any) -> Any:
    """Something small."""
    return Finding(severity="note", message=f"{subject} is odd") if subject else None


def major_fault(subject: Any) -> Any:
    """Something large."""
    return Finding(severity="error", message="broken", fix={"lr": 1e-4}) if subject else None


def lesser_fault(subject: Any) -> Any:
    """Something less large."""
    return Finding(severity="error", message="also broken", advice="mend it") if subject else None


def clumsy(subject: Any) -> None:
    raise ZeroDivisionError("division\nby zero")


def wordy(subject: Any) -> Any:
    return "not a finding"


@pytest.fixture
def plugged_in(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Puts rules of this file into the group of other packages' rules, by name; counts the loads."""
    entries, loads = [], []

    class Entry(EntryPoint):
        def load(self) -> Any:
            loads.append(self.name)
            return super().load()

    def add(name: Any, value: Any) -> None:
        entries.append(Entry(name, value, "group"))

    monkeypatch.setattr(module, "entry_points", lambda group: entries if group == "group" else [])
    add.loads = loads
    return add


def test_worst_first_then_in_the_order_of_the_rules() -> None:
    findings = Rules([minor, major_fault, lesser_fault], "none").findings("it", run="a")
    assert [finding.rule for finding in findings] == ["major-fault", "lesser-fault", "minor"]
    assert {finding.run for finding in findings} == {"a"}
    assert in_order(reversed(findings)) == [findings[1], findings[0], findings[2]]
    assert Rules([minor], "none").findings("") == []


def test_a_finding_as_json_and_as_an_event() -> None:
    (finding,) = Rules([major_fault], "none").findings("it")
    assert json.loads(json.dumps(finding.as_dict()))["fix"] == {"lr": 1e-4}
    event = finding.at(7)
    assert (event.step, event.rule, event.severity, event.fix) == (7, "major-fault", "error", {"lr": 1e-4})


@pytest.mark.parametrize(
    ("rule", "reason"),
    [(clumsy, "ZeroDivisionError: division by zero"), (wordy, "TypeError: it returned a str, not a Finding")],
)
def test_a_rule_that_fails_is_noted_and_the_others_speak(rule: Any, reason: Any) -> None:
    note, other = Rules([rule, minor], "none").findings("it")
    assert (note.severity, note.rule) == ("warning", rule.__name__)
    assert note.message == f"rule {rule.__name__} failed: {reason}"
    assert other.rule == "minor"


def test_rules_of_other_packages_come_last_and_are_loaded_when_first_used(plugged_in: Any) -> None:
    plugged_in("theirs", f"{__name__}:lesser_fault")
    rules = Rules([major_fault], "group")
    assert plugged_in.loads == []
    for _ in range(2):
        assert [finding.rule for finding in rules.findings("it")] == ["major-fault", "theirs"]
    assert plugged_in.loads == ["theirs"]
    assert next(rule for rule in rules if rule.name == "theirs").explanation == "Something less large."


def test_rules_of_other_packages_that_cannot_be_used_are_noted(plugged_in: Any) -> None:
    plugged_in("gone", "no_such_package:rule")
    plugged_in("minor", f"{__name__}:lesser_fault")
    messages = {finding.rule: finding.message for finding in Rules([minor], "group").findings("it")[:-1]}
    assert messages["gone"].startswith("rule gone failed: ModuleNotFoundError")
    assert "bears the name of a rule of Paceline's" in messages["minor"]


@pytest.mark.parametrize("name", ["zero-gradient", "nothing-reached", "memory-too-small"])
def test_every_kind_of_rule_is_explained(name: str) -> None:
    assert "Computed:" in explain(name)


def test_an_unknown_rule_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="no rule 'zero-gradiet', did you mean 'zero-gradient'"):
        explain("zero-gradiet")
