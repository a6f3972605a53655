"""The runs answer the questions, turn by turn, all at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from paceline.data.formats import Messages
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.answers import keep_answers, read_answers, request_digest, write_answers
from paceline.evaluate.generate import Request, Sampling
from paceline.evaluate.mtbench.questions import Question
from paceline.runs.evaluations import TurnAnswer

# {(run, question): its answers, turn by turn}
Answers = dict[tuple[str, str], list[str]]


def converse(
    adapter_set: AdapterSet,
    questions: Sequence[Question],
    out: Path,
    sampling: Sampling,
    thinking: bool,
    observe: Callable[[int, int, int], None] = lambda done, total, tokens: None,
    log: Callable[[str], None] = lambda line: None,
) -> Answers:
    """Asks every run every question. Answers are written as they come.

    Those in the file are not asked again if the conversation up to them, sampling, adapter and base are the
    same; others to the same question are replaced, and `log` is told.

    The second turn of a conversation begins when its first is done, while others are still being answered.
    """
    answers: Answers = {(run, q.id): [] for run in adapter_set.adapters for q in questions}
    by_id = {question.id: question for question in questions}
    identities = {run: adapter_set.identity(run) for run in adapter_set.adapters}

    def next_turn(run: str, name: str) -> list[Request]:
        answered = answers[run, name]
        if len(answered) >= len(by_id[name].turns):
            return []
        prompt = adapter_set.prompt(_history(by_id[name], answered), thinking)
        return [Request(prompt, adapter_set.adapters[run], sampling, (run, name, len(answered)))]

    def takes_up(stored: TurnAnswer) -> bool:
        """Whether a stored answer is the one to the next turn, or to what is not asked now."""
        known = answers.get((stored.run, stored.id))
        if known is None:
            return True
        due = next_turn(stored.run, stored.id) if stored.turn == len(known) else []
        if not due or request_digest(identities[stored.run], due[0]) != stored.asked:
            return False
        known.append(stored.answer)
        return True

    stored = sorted(read_answers(out, TurnAnswer), key=lambda answer: answer.turn)
    keep_answers(out, stored, takes_up, log)

    def record(request: Request) -> TurnAnswer:
        run, name, turn = str(request.key[0]), str(request.key[1]), int(request.key[2])
        answers[run, name].append(adapter_set.text(request.tokens))
        generator.add(next_turn(run, name))
        return TurnAnswer(
            run=run,
            id=name,
            turn=turn,
            question=by_id[name].turns[turn],
            answer=answers[run, name][-1],
            tokens=len(request.tokens),
            finish=str(request.finish),
            asked=request_digest(identities[run], request),
        )

    generator = adapter_set.generator()
    generator.add(request for run, name in answers for request in next_turn(run, name))
    total = sum(len(q.turns) for q in questions) * len(adapter_set.adapters)
    write_answers(generator, out, record, total - sum(map(len, answers.values())), observe)
    return answers


def _history(question: Question, answers: list[str]) -> Messages:
    """The conversation up to the first turn that has no answer yet."""
    messages: Messages = []
    for turn, answer in zip(question.turns, answers, strict=False):
        messages += [{"role": "user", "content": turn}, {"role": "assistant", "content": answer}]
    return [*messages, {"role": "user", "content": question.turns[len(answers)]}]
