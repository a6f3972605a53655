"""MT-Bench's own code reads the same ratings from the same replies, asks and averages the same."""

import importlib
import json
import os
import random
import re
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from paceline.evaluate.mtbench.judges.judge import Grade, Reply
from paceline.evaluate.mtbench.pairwise import PAIRS, compare_answers
from paceline.evaluate.mtbench.protocol import judge_prompt, load_templates, read_rating, template_name
from paceline.evaluate.mtbench.questions import load_questions
from paceline.evaluate.mtbench.run import grade_answers
from paceline.evaluate.mtbench.scoring import pairwise_scores

CATEGORIES = ("writing", "roleplay", "reasoning", "math", "coding", "extraction", "stem", "humanities")
REPLIES = (
    "Rating: [[{}]]",
    "It is fine. [[{}]] and not [1]",
    "Rating: [{}]",
    "I give [[{}.5]]",
    "about {} of ten",
    "",
    "[[{}]].",
    "a[0] = 3; [[{}]]",
    "[[x]] [{}]",
)


class _Conversation:
    """The two roles of FastChat's conversation; what it holds is what a judge would be asked."""

    roles = ("user", "assistant")

    def __init__(self) -> None:
        self.system, self.turns = "", []

    def set_system_message(self, text: Any) -> None:
        self.system = text

    def append_message(self, role: Any, text: Any) -> None:
        self.turns.append(text)


@pytest.fixture
def fastchat(monkeypatch: pytest.MonkeyPatch) -> Any:
    """fastchat.llm_judge.common without its model zoo; the judge's model is replaced by a recorded reply."""
    zoo = types.ModuleType("fastchat.model.model_adapter")
    zoo.get_conversation_template, zoo.ANTHROPIC_MODEL_LIST, zoo.OPENAI_MODEL_LIST = (
        lambda model: _Conversation(),
        [],
        ["recorded"],
    )
    for name in ("anthropic", "fastchat.model"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    monkeypatch.setitem(sys.modules, "fastchat.model.model_adapter", zoo)
    for name in ("fastchat.llm_judge.common", "fastchat.llm_judge.show_result"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return importlib.import_module("fastchat.llm_judge.common")


@pytest.fixture
def folder(tmp_path: Path) -> Any:
    """80 questions of the benchmark's shape; MT_BENCH names a folder with the published ones."""
    if "MT_BENCH" in os.environ:
        return os.environ["MT_BENCH"]
    questions = [
        {
            "question_id": 81 + i,
            "category": CATEGORIES[i // 10],
            "turns": [f"Question {i}?", f"And {i} again?"],
        }
        for i in range(80)
    ]
    references = [
        {"question_id": q["question_id"], "choices": [{"turns": ["so", "and so"]}]}
        for q in questions
        if q["category"] in ("math", "reasoning", "coding")
    ]
    fields = {
        "single-v1": "{question} | {answer}",
        "single-math-v1": "{question} | {ref_answer_1} | {answer}",
        "single-v1-multi-turn": "{question_1} | {answer_1} | {question_2} | {answer_2}",
        "single-math-v1-multi-turn": "{question_1} | {ref_answer_1} | {question_2} | {ref_answer_2}"
        " | {answer_1} | {answer_2}",
    }
    pair_fields = {
        "pair-v2": "{question} | {answer_a} | {answer_b}",
        "pair-math-v1": "{question} | {ref_answer_1} | {answer_a} | {answer_b}",
        "pair-v2-multi-turn": "{question_1} | {question_2}"
        " | {answer_a_1} | {answer_a_2} | {answer_b_1} | {answer_b_2}",
        "pair-math-v1-multi-turn": "{question_1} | {ref_answer_1} | {question_2} | {ref_answer_2}"
        " | {answer_a_1} | {answer_a_2} | {answer_b_1} | {answer_b_2}",
    }
    prompts = [
        {
            "name": name,
            "type": kind,
            "system_prompt": f"Be {name}.",
            "prompt_template": text,
            "output_format": form,
        }
        for kind, form, named in (("single", "[[rating]]", fields), ("pairwise", "[[A]]", pair_fields))
        for name, text in named.items()
    ]
    for name, rows in (
        ("question", questions),
        ("reference_answer_gpt-4", references),
        ("judge_prompts", prompts),
    ):
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return str(tmp_path)


class _Recorded:
    name, comparable, usage = "recorded", True, None

    def __init__(self, replies: Any) -> None:
        self.replies = replies

    def grade(self, cases: Any, done: Any) -> Any:
        return [Grade(rating=read_rating(reply), reply=reply) for reply in self.replies]


def test_questions_prompts_ratings_and_averages(
    fastchat: Any,
    folder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(0)
    questions, templates = load_questions(folder), load_templates(f"{folder}/judge_prompts.jsonl")
    assert len(questions) == 80
    answers = {("m", q.id): [f"first {q.id}", f"second {q.id}"] for q in questions}
    places = [(q, turn) for q in questions for turn in range(2)]
    replies = {(q.id, turn): rng.choice(REPLIES).format(rng.randint(1, 9)) for q, turn in places}
    theirs = {
        str(q["question_id"]): q for q in fastchat.load_questions(f"{folder}/question.jsonl", None, None)
    }
    judges = fastchat.load_judge_prompts(f"{folder}/judge_prompts.jsonl")
    references = {
        str(json.loads(line)["question_id"]): json.loads(line)
        for line in Path(folder, "reference_answer_gpt-4.jsonl").read_text().splitlines()
    }
    lines = []
    for q, turn in places:
        asked = {}

        def recorded(
            model: Any,
            conversation: Any,
            asked: Any = asked,
            reply: Any = replies[q.id, turn],
            **options: Any,
        ) -> Any:
            asked["messages"] = [("system", conversation.system), ("user", conversation.turns[0])]
            return reply

        monkeypatch.setattr(fastchat, "chat_completion_openai", recorded)
        reference = references[q.id] if q.category in fastchat.NEED_REF_CATS else None
        judge = fastchat.Judge(
            "recorded", judges[template_name(q, turn)], ref_based=reference is not None, multi_turn=bool(turn)
        )
        rating, _, reply = fastchat.run_judge_single(
            theirs[q.id], {"choices": [{"turns": answers["m", q.id]}]}, judge, reference, bool(turn)
        )
        assert [
            (m["role"], m["content"]) for m in judge_prompt(templates, q, answers["m", q.id], turn)
        ] == asked["messages"]
        assert read_rating(reply) == rating
        lines.append({"model": "m", "score": rating, "turn": turn + 1})
    assert {line["score"] for line in lines} >= {-1, 7, 7.5}

    summary = grade_answers(
        answers,
        questions,
        _Recorded([replies[q.id, turn] for q, turn in places]),
        templates,
        tmp_path,
        lambda: None,
        {},
    )
    judged = tmp_path / "theirs.jsonl"
    judged.write_text("\n".join(map(json.dumps, lines)))
    show = importlib.import_module("fastchat.llm_judge.show_result")
    show.display_result_single(
        types.SimpleNamespace(input_file=str(judged), bench_name="mt_bench", model_list=None)
    )
    printed = [
        float(found) for found in re.findall(r"^m .*?(\d+\.\d+)$", capsys.readouterr().out, re.MULTILINE)
    ]
    mine = summary.runs["m"]
    ours = [mine.turns["1"].value, mine.turns["2"].value, mine.average.value]
    assert printed == pytest.approx(ours, abs=1e-5)
    assert mine.failed == sum(line["score"] == -1 for line in lines)


class _RecordedPairs(_Recorded):
    """Replies with what is recorded, and keeps what it was asked."""

    def ask(self, prompts: Any, done: Any) -> Any:
        self.asked = [[(message["role"], message["content"]) for message in prompt] for prompt in prompts]
        return [Reply(reply) for reply in self.replies]


def test_pairs_in_both_orders_and_win_rates(
    fastchat: Any,
    folder: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    rng = random.Random(1)
    questions, templates = load_questions(folder), load_templates(f"{folder}/judge_prompts.jsonl", PAIRS)
    answers = {
        (run, q.id): [f"{run} 1 {q.id}", f"{run} 2 {q.id}"] for run in ("base", "m") for q in questions
    }
    forms = ("[[A]]", "Better: [[B]]", "They are alike.\n[[C]]", "A is better")
    judge = _RecordedPairs([rng.choice(forms) for _ in range(4 * len(questions))])
    judgments = compare_answers(answers, questions, judge, templates, tmp_path, lambda: None)["m"]

    theirs = {
        str(q["question_id"]): q for q in fastchat.load_questions(f"{folder}/question.jsonl", None, None)
    }
    judges = fastchat.load_judge_prompts(f"{folder}/judge_prompts.jsonl")
    references = {
        str(json.loads(line)["question_id"]): json.loads(line)
        for line in Path(folder, "reference_answer_gpt-4.jsonl").read_text().splitlines()
    }
    asked: list[Any] = []

    def recorded(model: Any, conversation: Any, **options: Any) -> Any:
        asked.append([("system", conversation.system), ("user", conversation.turns[0])])
        return judge.replies[len(asked) - 1]

    monkeypatch.setattr(fastchat, "chat_completion_openai", recorded)
    matches = tmp_path / "theirs.jsonl"
    for q in questions:
        for turn in range(2):
            reference = references[q.id] if q.category in fastchat.NEED_REF_CATS else None
            name = ("pair-v2" if reference is None else "pair-math-v1") + ("-multi-turn" if turn else "")
            match = fastchat.MatchPair(
                theirs[q.id],
                "m",
                "base",
                {"choices": [{"turns": answers["m", q.id]}]},
                {"choices": [{"turns": answers["base", q.id]}]},
                fastchat.Judge("recorded", judges[name], reference is not None, bool(turn)),
                ref_answer=reference,
                multi_turn=bool(turn),
            )
            fastchat.play_a_match_pair(match, str(matches))
    assert judge.asked == asked
    show = importlib.import_module("fastchat.llm_judge.show_result")
    capsys.readouterr()
    show.display_result_pairwise(
        types.SimpleNamespace(
            input_file=str(matches), bench_name="mt_bench", model_list=None, baseline_model="base"
        )
    )
    printed = capsys.readouterr().out.split("\nm ")[1].split()
    own = pairwise_scores(judgments)
    assert [int(count) for count in printed[:3]] == [own.wins, own.losses, own.ties]
    assert float(printed[-1]) == pytest.approx(own.win_rate.value, abs=1e-5)
    assert own.failed > 0
