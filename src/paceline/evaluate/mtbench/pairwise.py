"""Pairwise comparison: a judge sees a run's answer and the base's, once in each order.

A judge may prefer what stands first, so a win counts only where both orders agree, and all else is a tie
(arXiv:2306.05685, sec. 3.4).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from paceline.data.formats import Messages
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import BASE
from paceline.evaluate.mtbench.converse import Answers
from paceline.evaluate.mtbench.judges.judge import AskedJudge, Judge, Reply
from paceline.evaluate.mtbench.protocol import Template
from paceline.evaluate.mtbench.questions import WITH_REFERENCE, Question
from paceline.runs.evaluations import PairJudgment
from paceline.runs.records import write_records

_FORM = (
    "Which of the two stands first says nothing about them, nor does their length. Explain your judgment in "
    "a few sentences first. End with a line that holds your verdict alone: [[A]] where A is better, [[B]] "
    "where B is better, [[C]] where neither is."
)
_SYSTEM = (
    "You compare the answers of two AI assistants, A and B, to the same user, without favour. Judge which is "
    f"more helpful, relevant, correct, deep, creative and detailed. {_FORM}"
)
_SYSTEM_REFERENCE = (
    "You compare the answers of two AI assistants, A and B, to the same user, without favour. You are given "
    "a reference answer. Hold both answers against it, find every mistake in them, then judge which is more "
    f"correct and helpful. {_FORM}"
)
_SECOND_TURN = " Compare the answers to the second question only."
_ANSWERS = "[Answer of A]\n{answer_a}\n[End]\n\n[Answer of B]\n{answer_b}\n[End]"
_CONVERSATIONS = "\n\n".join(
    f"[Conversation with {name.upper()}]\nUser: {{question_1}}\n\n{name.upper()}: {{answer_{name}_1}}\n\n"
    f"User: {{question_2}}\n\n{name.upper()}: {{answer_{name}_2}}\n[End]"
    for name in "ab"
)

# Our own prompts, under the names of the benchmark's.
PAIRS = {
    "pair-v2": Template(system=_SYSTEM, text="[Question]\n{question}\n\n" + _ANSWERS),
    "pair-math-v1": Template(
        system=_SYSTEM_REFERENCE,
        text="[Question]\n{question}\n\n[Reference answer]\n{ref_answer_1}\n[End]\n\n" + _ANSWERS,
    ),
    "pair-v2-multi-turn": Template(system=_SYSTEM + _SECOND_TURN, text=_CONVERSATIONS),
    "pair-math-v1-multi-turn": Template(
        system=_SYSTEM_REFERENCE + _SECOND_TURN,
        text="[Reference]\nUser: {question_1}\n\nAnswer: {ref_answer_1}\n\nUser: {question_2}\n\n"
        "Answer: {ref_answer_2}\n[End]\n\n" + _CONVERSATIONS,
    ),
}


def compare_answers(
    answers: Answers,
    questions: Sequence[Question],
    judge: Judge,
    templates: Mapping[str, Template],
    folder: Path,
    done: Callable[[], None],
) -> dict[str, list[PairJudgment]]:
    """Compares every run's answers with the base's, turn by turn, and writes the judgments into `folder`.

    Raises:
        EvaluationError: answers of the base are not among them; a judge that grades one answer at a time.
    """
    runs = list(dict.fromkeys(run for run, _ in answers))
    if BASE not in runs:
        raise EvaluationError("pairwise needs the base's answers: leave out --without-base")
    if not isinstance(judge, AskedJudge):
        raise EvaluationError(f"the judge {judge.name} grades one answer at a time; pairwise needs two")
    compared = [
        (run, question, turn)
        for run in runs
        if run != BASE
        for question in questions
        for turn in range(len(question.turns))
    ]
    prompts = []
    for run, question, turn in compared:
        own, base = answers[run, question.id], answers[BASE, question.id]
        prompts.append(pair_prompt(templates, question, (own, base), turn))
        prompts.append(pair_prompt(templates, question, (base, own), turn))
    replies = judge.ask(prompts, done)
    judgments: dict[str, list[PairJudgment]] = {run: [] for run in runs if run != BASE}
    for (run, question, turn), first, second in zip(compared, replies[::2], replies[1::2], strict=True):
        judgments[run].append(
            PairJudgment(
                run=run,
                id=question.id,
                category=question.category,
                turn=turn,
                verdicts=(read_preference(first), read_preference(second)),
                replies=(first.text, second.text),
            )
        )
    write_records(folder / "mtbench-pairs.jsonl", [j for own in judgments.values() for j in own])
    return judgments


def pair_prompt(
    templates: Mapping[str, Template],
    question: Question,
    answers: tuple[Sequence[str], Sequence[str]],
    turn: int,
) -> Messages:
    """What a judge is asked about two answers, A's first, to a turn (0 or 1), with what came before it."""
    kind = "pair-math-v1" if question.category in WITH_REFERENCE and question.reference else "pair-v2"
    template = templates[kind + ("-multi-turn" if turn else "")]
    values = {"question": question.turns[turn]}
    for name, own in zip("ab", answers, strict=True):
        values[f"answer_{name}"] = own[turn]
        values |= {f"answer_{name}_{number}": text for number, text in enumerate(own[: turn + 1], 1)}
    values |= {f"question_{number}": text for number, text in enumerate(question.turns[: turn + 1], 1)}
    values |= {f"ref_answer_{number}": text for number, text in enumerate(question.reference or (), 1)}
    return [
        {"role": "system", "content": template.system},
        {"role": "user", "content": template.text.format(**values)},
    ]


def read_preference(reply: Reply) -> str:
    """A, B or C from `[[…]]` on a reply's last line.

    "" where the line has none or several that differ, or where the reply was cut before its end.
    """
    lines = reply.text.strip().splitlines() or [""]
    found = set(re.findall(r"\[\[([ABC])\]\]", lines[-1]))
    return found.pop() if len(found) == 1 and not reply.was_cut else ""
