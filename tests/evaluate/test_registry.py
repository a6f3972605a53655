"""Implementations by name."""

from importlib.metadata import EntryPoint
from typing import Any

import pytest

from paceline.errors import EvaluationError
from paceline.evaluate.registry import Registry

OWN = {"json": "json:loads"}


def registry(monkeypatch: pytest.MonkeyPatch, *others: Any) -> Any:
    entries = [EntryPoint(name, value, "g") for name, value in others]
    monkeypatch.setattr("paceline.evaluate.registry.entry_points", lambda group: entries)
    return Registry("g", "reader", OWN)


def test_own_and_others_are_found_and_own_are_not_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    readers = registry(monkeypatch, ("other", "math:floor"), ("json", "math:floor"))
    assert readers.names() == ["json", "other"]
    assert readers.get("json")("1") == 1
    assert readers.get("other")(1.5) == 1


def test_an_unknown_name_and_a_broken_package_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    readers = registry(monkeypatch, ("broken", "no_such_module:x"))
    with pytest.raises(EvaluationError, match="no reader 'jsn', did you mean 'json'"):
        readers.get("jsn")
    with pytest.raises(EvaluationError, match=r"the reader 'broken' \(no_such_module:x\) cannot be imported"):
        readers.get("broken")
