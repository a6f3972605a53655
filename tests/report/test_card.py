"""The model card of a run."""

from dataclasses import replace
from typing import Any

import pytest
import yaml

from paceline.report import card as card_module
from paceline.report.card import model_card


def test_the_card_shows_the_run_among_its_study_s(studied: Any) -> None:
    card = model_card(studied / "faster", "someone/faster", merged=False)
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "peft"
    assert header["model_name"] == "faster"
    assert "datasets" not in header, "the embedded sample is no data set on the hub"
    assert "| **faster** |" in card
    assert "| plain |" in card


def test_the_card_says_on_which_examples_and_who_was_not_compared(
    studied: Any, facts: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain, faster, twin = facts.comparison.rows
    apart = replace(facts.comparison, rows=[plain, faster, replace(twin, difference=None)], left_out=7)
    monkeypatch.setattr(card_module, "collect_study", lambda path, noise: replace(facts, comparison=apart))
    card = model_card(studied / "faster", "someone/faster", merged=False)
    lines = {name: line for line in card.splitlines() for name in ("plain", "twin") if f"| {name}" in line}
    assert lines["plain"].endswith("| baseline |")
    assert lines["twin"].endswith("| no shared example |")
    assert f"Losses are over {apart.examples:,} held-out examples" in card
    assert "those that all compared recipes share" in card
    for note in apart.footnotes():
        assert note.split(";")[0].split("`")[0] in card
