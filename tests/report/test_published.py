"""Measured figures beside published ones."""

from typing import Any

import pytest

from paceline.report.published import against_published


def test_published_figures_stand_beside_the_measured_ones(written: Any) -> None:
    facts, markdown, _ = written
    figures = {(figure.run, figure.name): figure for figure in against_published(facts)}
    assert figures["plain", "eval_loss"].published == 1.25
    assert figures["plain", "eval_loss"].measured == pytest.approx(facts.comparison.rows[0].eval_loss)
    assert figures["plain", "mtbench"].measured == facts.runs[0].mtbench.runs["plain"].average.value
    assert figures["gone", "minutes"].measured is None
    assert "| gone | minutes | 12 |  |" in markdown.read_text()
