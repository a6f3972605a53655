"""Evaluations that a recipe names: done once for all runs, shared out, skipped when they are there; and the early stop on a score."""

import json
from dataclasses import replace
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, ClassVar

import pytest
import typer

from helpers import MakeRecipe, MakeStudy, StopWhen
from paceline.api.comparison import compare
from paceline.api.results import open_study
from paceline.api.study import run_study
from paceline.cli.run import _print_result
from paceline.config.evaluation import InTrainingEval
from paceline.errors import DataError, EvaluationError, RunError
from paceline.evaluate.mtbench.in_training import in_training_score
from paceline.evaluate.mtbench.judges.judge import Grade
from paceline.evaluate.progress import EvaluationProgress
from paceline.evaluate.study import check_evaluations, evaluate_study
from paceline.report.collect import collect_study
from paceline.report.conclusions import conclusions
from paceline.report.export import write_report
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluation_status import evaluation_statuses, not_evaluated
from paceline.runs.evaluations import (
    FAILED,
    Answer,
    CodeVerdict,
    EvaluationResult,
    FailedEvaluation,
    Judgment,
    TurnAnswer,
    read_code,
    read_forgetting,
    read_mtbench,
)
from paceline.runs.events import ScoreEvent, of_kind, read_events
from paceline.runs.records import read_records
from paceline.training.stop_rules import BenchmarkEarlyStop
from paceline.training.study import TrainingOptions, train_study

ASKED = {"lang": "embedded:en", "questions": 3, "max_new_tokens": 4}


def test_every_run_gets_its_share_and_the_base(recipe: MakeRecipe, study: MakeStudy, tmp_path: Path) -> None:
    asked = {
        "mtbench": ASKED,
        "code": {"suite": "problems", "n": 2, "max_new_tokens": 4},
        "forgetting": {"source": "embedded:twix", "n": 4},
    }
    recipes = {name: recipe(max_steps=2, seed=seed, eval=asked) for seed, name in enumerate(("a", "b"))}
    outcome = train_study(study(**recipes), tmp_path)
    results = {result.kind: result for result in evaluate_study(outcome.directories, tmp_path)}
    assert set(results) == {"mtbench", "code", "forgetting"}
    assert set(results["mtbench"].runs) == set(results["code"].runs) == {"base", "a", "b"}
    assert set(results["forgetting"].runs) == {"a", "b"}
    for name in ("a", "b"):
        folder = tmp_path / name / "eval"
        mtbench, code = read_mtbench(folder), read_code(folder)["problems"]
        assert mtbench.runs == {run: results["mtbench"].runs[run] for run in ("base", name)}
        assert code.runs == {run: results["code"].runs[run] for run in ("base", name)}
        assert code.runs[name].withheld.startswith("no verdict: ")
        for file, kind in (
            ("mtbench-answers.jsonl", TurnAnswer),
            ("mtbench-judgments.jsonl", Judgment),
            ("problems-answers.jsonl", Answer),
            ("problems-verdicts.jsonl", CodeVerdict),
        ):
            assert {record.run for record in read_records(folder / file, kind)} == {"base", name}
        forgetting = read_forgetting(folder)
        assert forgetting == results["forgetting"].runs[name]
        assert forgetting.run.kl > 0
        assert forgetting.change.delta == pytest.approx(forgetting.run.loss - forgetting.base.loss)
    assert evaluate_study(outcome.directories, tmp_path) == []
    _damage_and_evaluate_again(outcome.directories, tmp_path)


def _damage_and_evaluate_again(directories: list[RunDirectory], folder: Path) -> None:
    """A damaged result is not shown; the next run of the study makes it again, the same."""
    damaged, kept = (directories[0].eval / name for name in ("mtbench.json", "mtbench-judgments.jsonl"))
    before = damaged.read_bytes(), kept.read_bytes()
    damaged.write_bytes(before[0].replace(b'"questions": 3', b'"questions": 8'))
    with pytest.raises(RunError, match="not as it was written"):
        read_mtbench(directories[0].eval)
    missing = [status for status in evaluation_statuses(directories) if not status.done]
    assert {status.run for status in missing} == {directories[0].name}
    assert "damaged: mtbench.json" in missing[0].reason
    assert {result.kind for result in evaluate_study(directories, folder)} == {
        "mtbench",
        "code",
        "forgetting",
    }
    assert (damaged.read_bytes(), kept.read_bytes()) == before
    assert all(status.done for status in evaluation_statuses(directories))


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"mtbench": {**ASKED, "judge": "openai", "judge_model": "m"}}, "OPENAI_API_KEY"),
        ({"mtbench": {**ASKED, "judge": "openai", "judge_url": "http://localhost"}}, "needs judge_model"),
        ({"mtbench": {**ASKED, "judge": "reward"}}, "needs judge_model"),
        ({"mtbench": {**ASKED, "judge": "reward", "judge_model": "/nowhere"}}, "cannot be loaded"),
        ({"mtbench": {**ASKED, "judge": "opnai"}}, "no judge 'opnai', did you mean 'openai'"),
        ({"mtbench": {**ASKED, "lang": "xx"}}, "'xx'"),
        ({"mtbench": {**ASKED, "judge_prompts": "none.jsonl"}}, "cannot be read as judge prompts"),
        ({"code": {"suite": "problems", "data": "no-such-file.parquet"}}, "no-such-file.parquet"),
        ({"code": {"suite": "problems", "data": "embedded:twix"}}, "no row with code to run"),
        ({"code": {"suite": "rsut"}}, "no code suite 'rsut', did you mean 'rust'"),
        ({"forgetting": {"source": "./no-such"}}, "no such file or folder"),
        ({"forgetting": {"source": "embedded:twix", "format": "alpaca"}}, "needs column 'instruction'"),
    ],
)
def test_what_would_fail_after_training_is_refused_before_it(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, asked: Any, message: Any
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    with pytest.raises((EvaluationError, DataError), match=message):
        check_evaluations([recipe(), recipe(eval=asked)])


def test_evaluations_that_can_be_done_pass_the_check(recipe: MakeRecipe) -> None:
    check_evaluations([recipe(eval={"mtbench": ASKED}), recipe()])
    check_evaluations(
        [recipe(eval={"code": {"suite": "problems"}, "forgetting": {"source": "embedded:twix"}})]
    )


@pytest.mark.parametrize(("suite", "missing"), [("problems", "bubblewrap"), ("rust", "rustc")])
def test_a_machine_that_cannot_run_code_is_told_before_training(
    recipe: MakeRecipe, monkeypatch: pytest.MonkeyPatch, suite: Any, missing: Any
) -> None:
    monkeypatch.setattr("shutil.which", lambda name: None)
    with pytest.raises(EvaluationError, match=f"{missing}.*install"):
        check_evaluations([recipe(eval={"code": {"suite": suite}})])


def test_an_evaluation_that_fails_is_among_the_results_and_tried_again(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = {"mtbench": ASKED, "forgetting": {"source": "embedded:twix", "n": 4}}
    outcome = train_study(study(a=recipe(max_steps=1, eval=asked)), tmp_path)
    lines = []
    with monkeypatch.context() as broken:

        def grade(*arguments: Any) -> None:
            raise EvaluationError("the judge cannot be reached")

        broken.setattr("paceline.evaluate.mtbench.judges.simple.SimpleJudge.grade", grade)
        results = evaluate_study(outcome.directories, tmp_path, EvaluationProgress(log=lines.append))
    failed, forgetting = results
    assert failed == FailedEvaluation(evaluation="mtbench", runs=("a",), reason="the judge cannot be reached")
    assert forgetting.kind == "forgetting"
    assert "mtbench: not evaluated: the judge cannot be reached" in lines
    assert not_evaluated(compare(tmp_path).evaluations) == [
        "mtbench was not done for a: the judge cannot be reached"
    ]
    assert "mtbench was not done for a: the judge cannot be reached." in conclusions(collect_study(tmp_path))
    markdown, page = write_report(collect_study(tmp_path), tmp_path)
    assert "| a | mtbench | not done: the judge cannot be reached |" in markdown.read_text()
    assert "| a | forgetting | done |" in markdown.read_text()
    assert "not done: the judge cannot be reached" in page.read_text()
    assert [result.kind for result in evaluate_study(outcome.directories, tmp_path)] == ["mtbench"]
    assert all(status.done for status in compare(tmp_path).evaluations)


def test_what_nobody_tried_and_what_was_left_out_is_not_done(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path
) -> None:
    wanted = study(a=recipe(max_steps=1, eval={"mtbench": ASKED}), b=recipe(max_steps=1))
    wanted = wanted.model_copy(update={"not_evaluated": {"code": "no sandbox"}})
    run_study(wanted, tmp_path, check=False, evaluate=False)
    assert not_evaluated(compare(tmp_path).evaluations) == [
        "mtbench was not done for a: it was left out or stopped; the command that trained the run does it",
        "code was not done for a, b: no sandbox",
    ]
    with pytest.raises(typer.Exit) as caught:
        _print_result(open_study(tmp_path), as_json=True)
    assert caught.value.exit_code == 1


def test_a_judge_whose_replies_hold_no_rating_is_a_failed_evaluation(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = train_study(study(a=recipe(max_steps=1, eval={"mtbench": ASKED})), tmp_path)
    monkeypatch.setattr(
        "paceline.evaluate.mtbench.judges.simple.SimpleJudge.grade",
        lambda self, cases, done: [Grade(rating=FAILED) for _ in cases],
    )
    (failed,) = evaluate_study(outcome.directories, tmp_path)
    assert failed.reason == "no reply of the judge simple has a rating from 1 to 10"


def test_an_error_that_nobody_expects_is_not_swallowed(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = train_study(study(a=recipe(max_steps=1, eval={"mtbench": ASKED})), tmp_path)
    monkeypatch.setattr("paceline.evaluate.mtbench.evaluation.run_mtbench", lambda *arguments: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        evaluate_study(outcome.directories, tmp_path)


class CountingEvaluation:
    """Another package's evaluation: how many parameters a run's adapter has."""

    kind = "parameters"

    def settings(self, recipe: Any) -> Any:
        return recipe.eval

    def check(self, settings: Any) -> None:
        pass

    def evaluate(self, settings: Any, group: Any) -> Any:
        sizes = {d.name: group.adapter_set.adapters[d.name].parameters.numel() for d in group.directories}
        return ParameterCount(sizes=sizes)


class ParameterCount(EvaluationResult):
    kind: ClassVar[str] = "parameters"

    sizes: dict[str, int]


COUNTING = CountingEvaluation()


def test_another_package_s_evaluation_is_found_and_done_once(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    outcome = train_study(study(a=recipe(max_steps=1)), tmp_path)
    entry = EntryPoint("parameters", f"{__name__}:COUNTING", "paceline.evaluations")
    monkeypatch.setattr("paceline.evaluate.registry.entry_points", lambda group: [entry])
    (result,) = evaluate_study(outcome.directories, tmp_path)
    assert result.kind == "parameters"
    assert result.sizes["a"] > 1000
    assert evaluate_study(outcome.directories, tmp_path) == []


@pytest.mark.parametrize(
    ("scores", "over"),
    [
        ([5.0, 5.04, 5.05], [False, True, True]),  # the base's 5.0 is the best until more than 0.05 above it
        ([5.1, 5.12, 5.2], [False, False, False]),
        ([4.7], [True]),  # 0.30 under the base
        ([4.71, 5.2, 5.3], [False, False, False]),
    ],
)
def test_the_early_stop_on_a_score(scores: Any, over: Any) -> None:
    watch = BenchmarkEarlyStop(InTrainingEval(steps=1, patience=2))
    watch.see(_score("base", 5.0))
    found = []
    for score in scores:
        watch.see(_score("eval", score))
        found.append(watch.stop is not None)
    assert found == over


def _score(name: Any, score: Any) -> Any:
    return ScoreEvent(step=1, epoch=0.5, name=name, score=score, seconds=0.0)


def test_a_run_stops_on_its_score_and_resumes_as_if_it_had_not_stopped(
    recipe: MakeRecipe, study: MakeStudy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
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
    folders = [tmp_path / name / "a" / "eval" / "during" for name in ("whole", "halves")]
    asked_of = [[(folder / f"step-{step}.jsonl").read_text() for step in (0, 2, 4)] for folder in folders]
    assert asked_of[0] == asked_of[1]
    shown = collect_study(tmp_path / "halves").on_the_way
    assert [(own.recipe, list(own.answers)) for own in shown] == [("a", [0, 2, 4])] * 4, "two turns of two"
    last = [json.loads(line)["answer"] for line in asked_of[0][2].splitlines()]
    assert [own.answers[4] for own in shown] == last
    weights = [
        (tmp_path / name / "a" / "adapter" / "adapter_model.safetensors").read_bytes()
        for name in ("whole", "halves")
    ]
    assert weights[0] == weights[1]
