"""MT-Bench of a real run, from its answers to its scores."""

from pathlib import Path
from typing import Any

import pytest

from judge_server import CATEGORIES, Server
from paceline.config.evaluation import MTBench
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Sampling
from paceline.evaluate.mtbench.converse import converse
from paceline.evaluate.mtbench.judges.judge import open_judge
from paceline.evaluate.mtbench.judges.simple import SimpleJudge
from paceline.evaluate.mtbench.protocol import OWN
from paceline.evaluate.mtbench.questions import load_questions
from paceline.evaluate.mtbench.run import grade_answers, run_mtbench
from paceline.runs.evaluations import MTBenchSummary, TurnAnswer
from paceline.runs.records import read_record, read_records


def test_two_turns_of_every_run_with_the_simple_judge(adapter_set: Any, file: Any, tmp_path: Path) -> None:
    questions = load_questions(str(file))
    answers = converse(adapter_set, questions, tmp_path / "answers.jsonl", Sampling(max_new_tokens=12), False)
    assert {len(said) for said in answers.values()} == {2}
    summary = grade_answers(answers, questions, SimpleJudge(adapter_set), OWN, tmp_path, lambda: None, {})
    again = grade_answers(answers, questions, SimpleJudge(adapter_set), OWN, tmp_path, lambda: None, {})
    assert summary == again
    assert not summary.comparable_with_published
    assert set(summary.runs) == {"base", "a"}
    for figures in summary.runs.values():
        assert 1 <= figures.average.low <= figures.average.value <= figures.average.high <= 9
        assert set(figures.categories) == set(CATEGORIES)
    assert summary.runs["a"].change.observations == 24
    assert summary.runs["base"].change is None
    lines = (tmp_path / "answers.jsonl").read_text().splitlines(keepends=True)
    (tmp_path / "half.jsonl").write_text("".join(lines[: len(lines) // 2]))
    assert (
        converse(adapter_set, questions, tmp_path / "half.jsonl", Sampling(max_new_tokens=12), False)
        == answers
    )


def test_what_the_judge_spent_is_reported(
    adapter_set: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: Any
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "k")
    settings = MTBench(
        lang=str(file),
        questions=2,
        judge="openai",
        judge_model="m",
        judge_url=Server([None], 0).url,
        judge_price="2,10",
        max_new_tokens=4,
    )
    speakers = AdapterSet(
        adapter_set.base,
        adapter_set.chat,
        {name: adapter for name, adapter in adapter_set.adapters.items() if name != "base"},
    )
    first = run_mtbench(speakers, settings, open_judge(settings, adapter_set, tmp_path / "replies"), tmp_path)
    turns = 4 * len(speakers.adapters)
    assert first.judge_spent.calls == turns
    stored = read_records(tmp_path / "mtbench-answers.jsonl", TurnAnswer)
    assert {run: scores.cut for run, scores in first.runs.items()} == {
        run: sum(answer.finish == "length" for answer in stored if answer.run == run) for run in first.runs
    }
    assert first.runs["a"].cut > 0
    assert (first.judge_spent.prompt_tokens, first.judge_spent.completion_tokens) == (7 * turns, 3 * turns)
    assert first.judge_spent.cost == pytest.approx(44e-6 * turns)
    assert read_record(tmp_path / "mtbench.json", MTBenchSummary) == first
    again = run_mtbench(speakers, settings, open_judge(settings, adapter_set, tmp_path / "replies"), tmp_path)
    assert again.judge_spent.calls == 0
    assert again.runs == first.runs
