"""A run's answers beside the base's, in both orders."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from judge_server import Server
from paceline.comparison.recipes import BASE, preference_family
from paceline.config.evaluation import MTBench
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.evaluation import EvaluationGroup
from paceline.evaluate.mtbench.evaluation import MTBENCH
from paceline.evaluate.mtbench.judges.judge import Reply, open_judge
from paceline.evaluate.mtbench.pairwise import PAIRS, pair_prompt, read_preference
from paceline.evaluate.mtbench.protocol import load_templates
from paceline.evaluate.mtbench.questions import load_questions
from paceline.evaluate.mtbench.run import run_mtbench
from paceline.evaluate.mtbench.scoring import pairwise_scores
from paceline.evaluate.progress import NO_PROGRESS
from paceline.runs.evaluations import MTBenchSummary, PairJudgment, TurnAnswer
from paceline.runs.records import read_record, read_records
from paceline.stats.intervals import wilson_interval


def pairs(*outcomes: str) -> list[PairJudgment]:
    """A judgment of one turn for each outcome: win, tie, loss, swayed or failed."""
    verdicts = {"win": "AB", "loss": "BA", "tie": "CC", "swayed": "AA", "failed": ("A", "")}
    return [
        PairJudgment(
            run="r", id=str(i), category="c", turn=0, verdicts=tuple(verdicts[one]), replies=("", "")
        )
        for i, one in enumerate(outcomes)
    ]


@pytest.mark.parametrize(
    ("reply", "preferred"),
    [
        ("Both are fine.\n[[A]]", "A"),
        ("[[B]]", "B"),
        ("My verdict: [[C]]\n", "C"),
        ("[[A]] is what A asks me to write.\nB is better: [[B]]", "B"),
        ("[[A]]\nthat was it", ""),
        ("[[A]] or [[B]]", ""),
        ("[A]", ""),
        ("[[D]]", ""),
        ("", ""),
    ],
)
def test_a_verdict_is_read_on_the_last_line(reply: str, preferred: str) -> None:
    assert read_preference(Reply(reply)) == preferred
    assert read_preference(Reply(reply, was_cut=True)) == ""


@pytest.mark.parametrize(
    ("verdicts", "outcome", "swayed"),
    [
        (("A", "B"), "win", False),
        (("B", "A"), "loss", False),
        (("C", "C"), "tie", False),
        (("A", "A"), "tie", True),
        (("A", "C"), "tie", True),
        (("", "B"), "failed", False),
    ],
)
def test_a_win_is_one_that_both_orders_agree_on(verdicts: Any, outcome: str, swayed: bool) -> None:
    judgment = PairJudgment(run="r", id="1", category="c", turn=0, verdicts=verdicts, replies=("", ""))
    assert (judgment.outcome, judgment.is_swayed) == (outcome, swayed)


def test_the_judge_sees_both_conversations_and_the_reference(file: Any) -> None:
    question = load_questions(str(file))[1]
    own, base = ["own one", "own two"], ["base one", "base two"]
    first = pair_prompt(PAIRS, question, (own, base), 1)[1]["content"]
    second = pair_prompt(PAIRS, question, (base, own), 1)[1]["content"]
    assert first.index("own two") < first.index("base two")
    assert second.index("base two") < second.index("own two")
    for text in (*own, *base, *question.turns, *question.reference):
        assert text in first
    turn_one = pair_prompt(PAIRS, question, (own, base), 0)[1]["content"]
    assert "two" not in turn_one
    assert question.reference[0] in turn_one


def test_published_prompts_need_those_for_pairs_too(tmp_path: Path) -> None:
    prompts = tmp_path / "judge_prompts.jsonl"
    prompts.write_text(json.dumps({"name": "pair-v2", "system_prompt": "S", "prompt_template": "T"}))
    with pytest.raises(EvaluationError, match="no template 'pair-math-v1' in it"):
        load_templates(str(prompts), PAIRS)


def test_win_rates_and_their_counts() -> None:
    rng = np.random.default_rng(0)
    drawn = rng.choice(["win", "win", "tie", "loss", "swayed", "failed"], 60).tolist()
    own, count = pairwise_scores(pairs(*drawn)), Counter(drawn)
    ties = count["tie"] + count["swayed"]
    assert (own.wins, own.ties, own.losses, own.swayed, own.failed) == (
        count["win"], ties, count["loss"], count["swayed"], count["failed"]
    )  # fmt: skip
    decided = [1.0] * count["win"] + [0.5] * ties + [0.0] * count["loss"]
    assert own.win_rate.value == pytest.approx(np.mean(decided))
    means = [np.mean(rng.choice(decided, len(decided))) for _ in range(4000)]
    assert (own.win_rate.low, own.win_rate.high) == pytest.approx(np.percentile(means, [2.5, 97.5]), abs=0.02)
    assert own.verdict == ("differ" if own.win_rate.low > 0.5 else "tie")


def test_a_few_wins_and_nothing_else_prove_nothing() -> None:
    """Equal values show no spread; Wilson's interval has a width, and a sign test needs six."""
    assert pairwise_scores(pairs("win", "win")).win_rate == wilson_interval(2, 2)
    assert pairwise_scores(pairs("win", "win")).verdict == "tie"
    for count in range(1, 10):
        assert pairwise_scores(pairs(*["loss"] * count)).verdict == ("tie" if count < 6 else "differ")
    assert pairwise_scores(pairs("failed")).verdict == "tie"


def test_recipes_are_compared_by_their_wins_over_questions_and_seeds() -> None:
    rng = np.random.default_rng(1)
    drawn = {
        name: {seed: rng.choice(["win", "tie", "loss"], 40, p=p).tolist() for seed in range(3)}
        for name, p in {"plain": (0.2, 0.4, 0.4), "good": (0.7, 0.2, 0.1)}.items()
    }
    family = preference_family(
        {name: {seed: pairs(*own) for seed, own in seeds.items()} for name, seeds in drawn.items()}
    )
    value = {"win": 1.0, "tie": 0.5, "loss": 0.0}
    means = {
        name: np.mean([[value[one] for one in own] for own in seeds.values()])
        for name, seeds in drawn.items()
    }
    assert family.means == pytest.approx({**means, BASE: 0.5})
    d = family.between("good", "plain")
    assert d.delta == pytest.approx(means["good"] - means["plain"])
    assert (d.covers_seeds, d.verdict) == (True, "better")


@pytest.fixture
def ask(adapter_set: Any, file: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """reply of the judge's server -> (settings, the judge's replies' folder)."""
    monkeypatch.setenv("OPENAI_API_KEY", "k")

    def settings(reply: Any) -> MTBench:
        return MTBench(
            lang=str(file),
            questions=4,
            judge="openai",
            judge_model="m",
            judge_url=Server([None], 0, reply).url,
            max_new_tokens=4,
            pairwise=True,
        )

    return settings


def test_a_judge_that_prefers_what_stands_first_finds_ties_only(
    ask: Any, adapter_set: Any, tmp_path: Path
) -> None:
    settings = ask(lambda asked: "[[A]]" if "[[A]]" in asked else "[[5]]")
    summary = run_mtbench(adapter_set, settings, open_judge(settings, adapter_set, tmp_path / "r"), tmp_path)
    own = summary.runs["a"].pairwise
    assert (own.wins, own.ties, own.losses, own.swayed, own.failed) == (0, 8, 0, 8, 0)
    assert (own.win_rate.value, own.verdict) == (0.5, "tie")
    assert summary.runs["base"].pairwise is None
    assert summary.judge_spent.calls == 16 + 16, "every answer graded, and every pair seen twice"
    assert read_record(tmp_path / "mtbench.json", MTBenchSummary) == summary


def test_a_judge_of_the_answers_alone_is_followed(ask: Any, adapter_set: Any, tmp_path: Path) -> None:
    """It prefers the answer with more letters, wherever that stands."""

    def longer(asked: str) -> str:
        if "[[A]]" not in asked:
            return "[[5]]"
        text = json.loads(asked)["messages"][1]["content"]
        second_turn = "[Conversation with A]" in text
        marks = [("\n\nA: ", "\n[End]"), ("\n\nB: ", "\n[End]")] if second_turn else [
            ("[Answer of A]\n", "\n[End]"), ("[Answer of B]\n", "\n[End]")
        ]  # fmt: skip
        lengths = []
        for begin, end in marks:
            text = text[text.index(begin) :]
            said = text[: text.index(end)]
            lengths.append(len(said[said.rindex(begin) + len(begin) :]))
        return "[[C]]" if lengths[0] == lengths[1] else "[[A]]" if lengths[0] > lengths[1] else "[[B]]"

    settings = ask(longer)
    summary = run_mtbench(adapter_set, settings, open_judge(settings, adapter_set, tmp_path / "r"), tmp_path)
    said = {
        (a.run, a.id, a.turn): a.answer for a in read_records(tmp_path / "mtbench-answers.jsonl", TurnAnswer)
    }
    expected: Counter[str] = Counter()
    for judgment in read_records(tmp_path / "mtbench-pairs.jsonl", PairJudgment):
        more = len(said["a", judgment.id, judgment.turn]) - len(said["base", judgment.id, judgment.turn])
        expected["win" if more > 0 else "loss" if more < 0 else "tie"] += 1
    own = summary.runs["a"].pairwise
    assert (own.wins, own.ties, own.losses) == (expected["win"], expected["tie"], expected["loss"])
    assert own.swayed == own.failed == 0


def test_a_judge_that_writes_rubbish_is_a_failed_evaluation(
    ask: Any, adapter_set: Any, tmp_path: Path
) -> None:
    settings = ask(lambda asked: "A, I think" if "[[A]]" in asked else "[[5]]")
    group = EvaluationGroup(adapter_set=adapter_set, directories=[], scratch=tmp_path, progress=NO_PROGRESS)
    with pytest.raises(EvaluationError, match="says which of two answers is better"):
        MTBENCH.evaluate(settings, group)
    judge = open_judge(settings, adapter_set, tmp_path / "judge-replies")
    with pytest.raises(EvaluationError, match="says which of two answers is better"):
        run_mtbench(adapter_set, settings, judge, tmp_path)
    assert read_record(tmp_path / "mtbench.json", MTBenchSummary).runs["a"].pairwise.failed == 8


@pytest.mark.parametrize("judge", ["reward", "simple"])
def test_a_judge_that_grades_one_at_a_time_is_refused(judge: str, file: Any) -> None:
    with pytest.raises(
        EvaluationError, match=rf"compares two answers \(openai, local\); '{judge}' grades one"
    ):
        MTBENCH.check(MTBench(lang=str(file), judge=judge, judge_model="m", pairwise=True))


def test_without_the_base_there_is_nothing_to_compare_with(
    ask: Any, adapter_set: Any, tmp_path: Path
) -> None:
    with pytest.raises(ValidationError, match="when needs before and after"):
        MTBench(pairwise=True, when=("after",))
    settings = ask(lambda asked: "[[5]]")
    alone = AdapterSet(adapter_set.base, adapter_set.chat, {"a": adapter_set.adapters["a"]})
    with pytest.raises(EvaluationError, match="leave out --without-base"):
        run_mtbench(alone, settings, open_judge(settings, adapter_set, tmp_path / "r"), tmp_path)
