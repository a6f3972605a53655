"""Answers preferred to the base's, in the report."""

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from paceline.comparison.recipes import BASE
from paceline.evaluate.mtbench.scoring import pairwise_scores
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions
from paceline.report.export import write_report
from paceline.runs.evaluations import PairJudgment, read_mtbench
from paceline.runs.records import write_record, write_records

# Chances of a win, a tie and a loss.
CHANCES = {"plain": (0.2, 0.6, 0.2), "faster": (0.9, 0.1, 0.0), "twin": (0.0, 0.1, 0.9)}
VERDICTS = (("A", "B"), ("C", "C"), ("B", "A"))


@pytest.fixture
def compared(studied: Any, tmp_path: Path) -> Path:
    """The study with pairs as a judge would leave them, of answers that were not cut."""
    folder = tmp_path / "study"
    shutil.copytree(studied, folder)
    rng = np.random.default_rng(0)
    for run, chances in CHANCES.items():
        judgments = [
            PairJudgment(run=run, id=str(i), category="c", turn=0, verdicts=VERDICTS[kind], replies=("", ""))
            for i, kind in enumerate(rng.choice(3, 60, p=chances))
        ]
        summary = read_mtbench(folder / run / "eval")
        assert summary is not None
        runs = {name: own.model_copy(update={"cut": 0, "withheld": ""}) for name, own in summary.runs.items()}
        runs[run] = runs[run].model_copy(update={"pairwise": pairwise_scores(judgments)})
        write_record(folder / run / "eval" / "mtbench.json", summary.model_copy(update={"runs": runs}))
        write_records(folder / run / "eval" / "mtbench-pairs.jsonl", judgments)
    return folder


def test_preferences_are_a_table_a_family_and_a_sentence(compared: Path, tmp_path: Path) -> None:
    facts = collect_study(compared)
    family = facts.families.pairwise
    assert family is not None
    for run in facts.runs:
        assert run.mtbench is not None
        own = run.mtbench.runs[run.name].pairwise
        assert own is not None
        assert family.means[run.name] == pytest.approx(own.win_rate.value)
        assert own.verdict == ("tie" if run.name == "plain" else "differ")
    said = [sentence for sentence in conclusions(facts) if "MT-Bench answers of" in sentence]
    assert said[0].startswith(
        "Neither the MT-Bench answers of the adapter of plain nor the base's are preferred"
    )
    assert said[1].startswith("The MT-Bench answers of the adapter of faster are preferred to the base's (")
    assert said[2].startswith(
        "The base's answers are preferred to the MT-Bench answers of the adapter of twin ("
    )
    share = 100 * (0.5 + family.between("faster", BASE).delta)
    assert f"{share:.1f}%" in said[1]
    markdown, page = write_report(facts, tmp_path)
    line = next(
        line
        for line in markdown.read_text().splitlines()
        if line.startswith(f"| faster | {share / 100:.2f} [")
    )
    assert "| differ |" in line
    assert "Swayed: ties whose two orders contradict each other" in page.read_text()


def test_where_answers_were_cut_the_preference_has_no_verdict(compared: Path, tmp_path: Path) -> None:
    folder = compared / "faster" / "eval"
    summary = read_mtbench(folder)
    assert summary is not None
    cut = summary.runs["faster"].model_copy(update={"cut": 8, "withheld": "no verdict: 8 of 8 answers cut"})
    write_record(
        folder / "mtbench.json", summary.model_copy(update={"runs": {**summary.runs, "faster": cut}})
    )
    facts = collect_study(compared)
    assert facts.families.pairwise is not None
    assert set(facts.families.pairwise.means) == {"plain", "twin", BASE}
    text = write_report(facts, tmp_path)[0].read_text()
    assert text.count("| no verdict: 8 of 8 answers cut |") == 2, "neither on the rating nor on the pairs"
