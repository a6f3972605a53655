"""What the report says, and that what others wrote stays text."""

import re

import pytest

from paceline.errors import PacelineError
from paceline.report.collect import gather
from paceline.report.conclusions import conclusions
from paceline.report.curves import curves, thin
from paceline.report.export import _cell, _fence, write_report
from paceline.report.published import against_published


@pytest.fixture(scope="module")
def written(studied, tmp_path_factory):
    facts = gather(studied)
    return facts, *write_report(facts, tmp_path_factory.mktemp("out"), price=2.0)


def test_every_number_of_a_conclusion_is_in_the_tables(written):
    facts, markdown, _ = written
    text = markdown.read_text()
    tables = "\n".join(line for line in text.splitlines() if line.startswith("|"))
    said = conclusions(facts)
    assert any("beats" in sentence or "cannot be told apart" in sentence for sentence in said)
    for row in facts.comparison.rows:
        assert f"{row.eval_loss:.4f}" in tables
    base = facts.comparison.base_loss
    assert f"from {base:.4f} to" in said[0]
    assert f"{base:.4f}" in tables


def test_a_tie_says_how_many_examples_would_tell(written):
    facts, _, _ = written
    for name, pair in facts.pairs.items():
        sentence = next(s for s in conclusions(facts) if name in s and ("beats" in s or "told apart" in s))
        if pair.verdict == "tie":
            needed = int(re.search(r"about ([\d,]+) would", sentence)[1].replace(",", ""))
            assert needed >= pair.examples * ((pair.high - pair.low) / 2 / abs(pair.delta)) ** 2 * 0.999
        else:
            assert f"{pair.delta:.3f} ±" in sentence


def test_published_figures_stand_beside_the_measured_ones(written):
    facts, markdown, _ = written
    figures = {(figure.run, figure.name): figure for figure in against_published(facts)}
    assert figures["plain", "eval_loss"].published == 1.25
    assert figures["plain", "eval_loss"].measured == pytest.approx(facts.comparison.rows[0].eval_loss)
    assert figures["plain", "mtbench"].measured == facts.runs[0].mtbench["runs"]["plain"]["average"]["value"]
    assert figures["gone", "minutes"].measured is None
    assert "| gone | minutes | 12 |  |" in markdown.read_text()


def test_markdown_holds_no_markup_of_others(written):
    _, markdown, _ = written
    outside = re.sub(r"^(`{3,})text\n.*?^\1$", "", markdown.read_text(), flags=re.DOTALL | re.MULTILINE)
    assert not re.search(r"(?<!\\)<(script|img)", outside)
    assert _cell("a|b\n<i>`") == r"a\|b \<i\>\`"
    assert _fence("x\n````\ny").startswith("`````text\n")


def test_all_sections_are_there(written):
    _, markdown, page = written
    for heading in ("Conclusions", "Results", "Δ by task", "MT-Bench", "What was forgotten", "Against the published figures", "Base and data",
                    "Recipes", "Time and cost", "The doctor's findings", "Answers before and after"):  # fmt: skip
        assert f"## {heading}" in markdown.read_text()
        assert f"<h2>{heading}".replace("'", "&#39;") in page.read_text().replace("'", "&#39;")


def test_a_single_run_and_an_unfinished_study_have_a_report_too(studied, tmp_path):
    write_report(gather(studied / "plain"), tmp_path)
    assert "plain" in (tmp_path / "report.md").read_text()
    with pytest.raises(PacelineError, match="neither a run directory"):
        gather(tmp_path)


def test_thinned_curves_keep_their_peaks():
    rows = [[1.0, 0.5]] * 5000
    rows[1234], rows[4321] = [9.0, 0.5], [1.0, None]
    kept = thin(rows, 400)
    assert len(kept) <= 400
    assert {0, 1234, 4999} <= set(kept)
    assert thin(rows[:50], 400) == list(range(50))


def test_evaluations_stand_where_their_step_is(written):
    facts, _, _ = written
    drawn = curves(facts.runs)[0]
    assert drawn["eval"]["step"] == [event["step"] for event in facts.runs[0].evals]
    for step, tokens in zip(drawn["eval"]["step"], drawn["eval"]["tokens"], strict=True):
        assert tokens == (drawn["train"]["tokens"][drawn["train"]["step"].index(step)] if step else 0)
