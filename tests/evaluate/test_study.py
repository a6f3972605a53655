"""Evaluations that a recipe names: done once for all runs, shared out, skipped when they are there; and the early stop on a score."""

import json
from dataclasses import replace

import pytest

from helpers import StopWhen
from paceline.config.evaluation import InTrainingEval
from paceline.errors import PacelineError
from paceline.evaluate.mtbench.in_training import in_training_score
from paceline.evaluate.study import check_evaluations, evaluate_study
from paceline.runs.events import ScoreEvent, of_kind, read_events
from paceline.train.stop_rules import BenchmarkEarlyStop
from paceline.train.study import TrainingOptions, train_study

ASKED = {"lang": "embedded:en", "questions": 3, "max_new_tokens": 4}


def test_every_run_gets_its_share_and_the_base(recipe, study, tmp_path):
    wishes = {
        "mtbench": ASKED,
        "code": {"suite": "problems", "n": 2, "max_new_tokens": 4},
        "forgetting": {"source": "embedded:twix", "n": 4},
    }
    wanted = {name: recipe(max_steps=2, seed=seed, eval=wishes) for seed, name in enumerate(("a", "b"))}
    outcome = train_study(study(**wanted), tmp_path)
    found = dict(evaluate_study(outcome.directories, tmp_path))
    assert set(found) == {"mtbench", "code", "forgetting"}
    assert set(found["mtbench"]["runs"]) == set(found["code"]["runs"]) == {"base", "a", "b"}
    for name in ("a", "b"):
        folder = tmp_path / name / "eval"
        for file in ("mtbench.json", "problems.json"):
            assert set(json.loads((folder / file).read_text())["runs"]) == {"base", name}
        for file in (
            "mtbench-answers.jsonl",
            "mtbench-judgments.jsonl",
            "problems-answers.jsonl",
            "problems-verdicts.jsonl",
        ):
            assert {json.loads(line)["run"] for line in (folder / file).read_text().splitlines()} == {
                "base",
                name,
            }
        forgotten = json.loads((folder / "forgetting.json").read_text())
        assert forgotten["run"]["kl"] > 0
        assert forgotten["base"]["loss"] > 0
    assert evaluate_study(outcome.directories, tmp_path) == []


def test_a_failed_wish_is_told_before_training(recipe, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    for asked, said in (
        ({"judge": "openai", "judge_model": "m"}, "OPENAI_API_KEY"),
        ({"judge": "reward"}, "judge_model"),
        ({"lang": "xx"}, "'xx'"),
    ):
        with pytest.raises(PacelineError, match=said):
            check_evaluations([recipe(eval={"mtbench": {**ASKED, **asked}})])
    check_evaluations([recipe(eval={"mtbench": ASKED}), recipe()])


@pytest.mark.parametrize(
    ("scores", "over"),
    [
        ([5.0, 5.04, 5.05], [False, True, True]),  # the base's 5.0 is the best until more than 0.05 above it
        ([5.1, 5.12, 5.2], [False, False, False]),
        ([4.7], [True]),  # 0.30 under the base
        ([4.71, 5.2, 5.3], [False, False, False]),
    ],
)
def test_the_early_stop_on_a_score(scores, over):
    watch = BenchmarkEarlyStop(InTrainingEval(steps=1, patience=2))
    watch.see(_score("base", 5.0))
    found = []
    for score in scores:
        watch.see(_score("eval", score))
        found.append(watch.over)
    assert found == over


def _score(name, score):
    return ScoreEvent(step=1, epoch=0.5, name=name, score=score, seconds=0.0)


def test_a_run_stops_on_its_score_and_resumes_as_if_it_had_not_stopped(recipe, study, tmp_path, monkeypatch):
    asked = {
        **ASKED,
        "during": {"steps": 2, "questions": 2, "patience": 2, "min_delta": 100.0, "floor": 100.0},
    }
    wanted = {"a": recipe(max_steps=8, save_steps=1, eval={"mtbench": asked})}
    options = TrainingOptions(make_scorer=in_training_score)
    train_study(study(**wanted), tmp_path / "whole", options)

    stop_at_three = StopWhen(lambda cohort: cohort.runs[0].step >= 3)
    train_study(study(**wanted), tmp_path / "halves", replace(options, callbacks=[stop_at_three]))
    train_study(study(**wanted), tmp_path / "halves", options)
    logs = [read_events(tmp_path / name / "a" / "events.jsonl") for name in ("whole", "halves")]
    scores = [[(e.step, e.name, e.score) for e in of_kind(log, ScoreEvent)] for log in logs]
    assert [step for step, _, _ in scores[0]] == [0, 2, 4]  # two checks without a gain of 100, then the end
    assert scores[0] == scores[1]
    weights = [
        (tmp_path / name / "a" / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("whole", "halves")
    ]
    assert weights[0] == weights[1]
