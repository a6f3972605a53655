"""The runs answer the questions, turn by turn, all at once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from paceline.data.formats import Messages
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.answers import read_answers, write_answers
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.mtbench.questions import Question

Answers = dict[tuple[str, str], list[str]]


def converse(
    adapter_set: AdapterSet, questions: list[Question], out: Path, sampling: Sampling, thinking: bool,
    observe: Callable[[int, int, int], None] = lambda done, total, tokens: None,
) -> Answers:  # fmt: skip
    """{(run, question): its answers}. A turn's answer is written as soon as it is whole; what the file has is not asked again.

    The second turn of a conversation begins when its first is done, while others still speak.
    """
    answers: Answers = {(run, q.id): [] for run in adapter_set.adapters for q in questions}
    for known in sorted(read_answers(out), key=lambda known: known["turn"]):
        if (known["run"], known["id"]) in answers:
            answers[known["run"], known["id"]].append(known["answer"])
    by_id = {question.id: question for question in questions}

    def ask(run: str, name: str) -> list[Request]:
        said = answers[run, name]
        if len(said) >= len(by_id[name].turns):
            return []
        prompt = adapter_set.prompt(_history(by_id[name], said), thinking)
        return [Request(prompt, adapter_set.adapters[run], sampling, (run, name, len(said)))]

    def line(request: Request) -> dict[str, Any]:
        run, name, turn = str(request.key[0]), str(request.key[1]), int(request.key[2])
        answers[run, name].append(adapter_set.text(request.tokens))
        generator.add(ask(run, name))
        return {
            "run": run, "id": name, "turn": turn, "question": by_id[name].turns[turn], "answer": answers[run, name][-1],
            "tokens": len(request.tokens), "finish": request.finish,
        }  # fmt: skip

    generator = adapter_set.generator()
    generator.add(request for run, name in answers for request in ask(run, name))
    total = sum(len(q.turns) for q in questions) * len(adapter_set.adapters)
    write_answers(generator, out, line, total - sum(map(len, answers.values())), observe)
    return answers


def _history(question: Question, said: list[str]) -> Messages:
    messages: Messages = []
    for turn, answer in zip(question.turns, said, strict=False):
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": question.turns[len(said)]}]
