"""The model card of a run."""

from typing import Any

import yaml

from paceline.report.card import model_card


def test_the_card_shows_the_run_among_its_study_s(studied: Any) -> None:
    card = model_card(studied / "faster", "someone/faster", merged=False)
    header = yaml.safe_load(card.split("---")[1])
    assert header["library_name"] == "peft"
    assert header["model_name"] == "faster"
    assert "datasets" not in header, "the embedded sample is no data set on the hub"
    assert "| **faster** |" in card
    assert "| plain |" in card
