"""Training curves, thinned out."""

from typing import Any

from paceline.report.curves import curves, thin


def test_thinned_curves_keep_their_peaks() -> None:
    rows = [[1.0, 0.5]] * 5000
    rows[1234], rows[4321] = [9.0, 0.5], [1.0, None]
    kept = thin(rows, 400)
    assert len(kept) <= 400
    assert {0, 1234, 4999} <= set(kept)
    assert thin(rows[:50], 400) == list(range(50))


def test_evaluations_stand_where_their_step_is(facts: Any) -> None:
    drawn = curves(facts.runs)[0]
    assert drawn.eval["step"] == [event.step for event in facts.runs[0].evals]
    for step, tokens in zip(drawn.eval["step"], drawn.eval["tokens"], strict=True):
        assert tokens == (drawn.train["tokens"][drawn.train["step"].index(step)] if step else 0)
