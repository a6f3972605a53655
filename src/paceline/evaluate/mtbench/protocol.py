"""Single-answer grading: what a judge is asked, and how its reply is read."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from paceline.data.formats import Messages
from paceline.errors import EvaluationError
from paceline.evaluate.mtbench.questions import WITH_REFERENCE, Question
from paceline.runs.evaluations import FAILED
from paceline.runs.files import parse_json

_FORM = (
    "Then give a whole number from 1 (useless) to 10 (excellent) in this form: [[number]], "
    "for example: Rating: [[5]]."
)
_SYSTEM = (
    "You grade the answers of an AI assistant without favour. Judge how helpful, relevant, correct, deep, "
    f"creative and detailed the answer is. Explain your judgment in a few sentences first. {_FORM}"
)
_SYSTEM_REFERENCE = (
    "You grade the answers of an AI assistant without favour. You are given a reference answer. Compare the "
    "assistant's answer with it, find every mistake and correct it, then judge how correct and "
    f"helpful it is. {_FORM}"
)
_SECOND_TURN = " Grade the answer to the second question only."
_CONVERSATION = (
    "[Conversation]\nUser: {question_1}\n\nAssistant: {answer_1}\n\nUser: {question_2}\n\n"
    "Assistant: {answer_2}\n[End of the conversation]"
)


@dataclass(frozen=True, kw_only=True)
class Template:
    """A judge's prompt: `system`, and `text` with placeholders in FastChat's names.

    They are question, answer, ref_answer_1, question_1, answer_1, …
    """

    system: str
    text: str


# Our own prompts, under the names of the benchmark's.
OWN = {
    "single-v1": Template(
        system=_SYSTEM,
        text="[Question]\n{question}\n\n[The assistant's answer]\n{answer}\n[End of the answer]",
    ),
    "single-math-v1": Template(
        system=_SYSTEM_REFERENCE,
        text="[Question]\n{question}\n\n[Reference answer]\n{ref_answer_1}\n[End of the reference]\n\n"
        "[The assistant's answer]\n{answer}\n[End of the answer]",
    ),
    "single-v1-multi-turn": Template(system=_SYSTEM + _SECOND_TURN, text=_CONVERSATION),
    "single-math-v1-multi-turn": Template(
        system=_SYSTEM_REFERENCE + _SECOND_TURN,
        text="[Reference]\nUser: {question_1}\n\nAnswer: {ref_answer_1}\n\nUser: {question_2}\n\n"
        "Answer: {ref_answer_2}\n[End of the reference]\n\n" + _CONVERSATION,
    ),
}


def load_templates(file: str | None, own: Mapping[str, Template] = OWN) -> Mapping[str, Template]:
    """The benchmark's published prompts from its judge_prompts.jsonl; without a file our `own`.

    Scores under our own prompts are not comparable with the paper's.

    Raises:
        EvaluationError: a file that cannot be read, or lacks a prompt.
    """
    if file is None:
        return own
    path = Path(file)
    try:
        rows = [parse_json(line) for line in path.read_bytes().splitlines() if line.strip()]
        templates = {
            row["name"]: Template(system=row["system_prompt"], text=row["prompt_template"]) for row in rows
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{path}: cannot be read as judge prompts ({type(error).__name__}: {error})"
        ) from error
    if missing := [name for name in own if name not in templates]:
        raise EvaluationError(f"{path}: no template {missing[0]!r} in it")
    return templates


def template_name(question: Question, turn: int) -> str:
    """Which template grades a turn (0 or 1)."""
    kind = "single-math-v1" if question.category in WITH_REFERENCE and question.reference else "single-v1"
    return kind + ("-multi-turn" if turn else "")


def judge_prompt(
    templates: Mapping[str, Template], question: Question, answers: list[str], turn: int
) -> Messages:
    """What a judge is asked about the answer to a turn, with the conversation up to it."""
    template = templates[template_name(question, turn)]
    values = {"question": question.turns[turn], "answer": answers[turn]}
    for number, text in enumerate(question.turns[: turn + 1], 1):
        values |= {f"question_{number}": text, f"answer_{number}": answers[number - 1]}
    for number, text in enumerate(question.reference or (), 1):
        values[f"ref_answer_{number}"] = text
    return [
        {"role": "system", "content": template.system},
        {"role": "user", "content": template.text.format(**values)},
    ]


def read_rating(reply: str) -> float:
    """The rating on a reply's last line: in [[…]], else in […]; these are the benchmark's own two patterns.

    FAILED where the line has none, several that differ, or one outside 1..10. What stands further up may be
    quoted from the answer, which can hold a rating of its own.
    """
    lines = reply.strip().splitlines() or [""]
    for pattern in (r"\[\[(\d+(?:\.\d*)?)\]\]", r"\[(\d+(?:\.\d*)?)\]"):
        if found := {float(number) for number in re.findall(pattern, lines[-1])}:
            rating = found.pop()
            return rating if not found and LOWEST <= rating <= HIGHEST else FAILED
    return FAILED


LOWEST, HIGHEST = 1.0, 10.0
