"""Answers of many runs to many prompts, into a file that grows line by line."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from paceline.config.fields import Fields
from paceline.data.formats import Messages, read_prompt
from paceline.errors import DataError, EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.runs.evaluations import Answer
from paceline.runs.records import AnyRecord, Record, read_records


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends where an answer is expected."""

    id: str
    messages: Messages
    tools: list[Fields] | None = None


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a JSONL file: each line has `messages` or `prompt`, and perhaps `id` (default: its number).

    Raises:
        EvaluationError: missing file; a line that is no such prompt (with its number); two with one id.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file")
    prompts: list[Prompt] = []
    for number, line in enumerate(path.read_text(encoding="utf-8-sig").split("\n"), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{path} line {number}: broken JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise EvaluationError(f"{path} line {number}: expected an object with `prompt` or `messages`")
        try:
            read = read_prompt(row)
        except DataError as error:
            raise EvaluationError(f"{path} line {number}: {error}") from error
        prompts.append(Prompt(str(row.get("id", number)), read.messages, read.tools))
    counts = Counter(prompt.id for prompt in prompts)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise EvaluationError(f"{path}: id {twice!r} is used twice")
    return prompts


class ChatBackend(Protocol):
    """What answers: an `AdapterSet`, or the same over another engine."""

    @property
    def adapters(self) -> Mapping[str, Any]: ...
    def generator(self) -> Any: ...
    def prompt(self, messages: Messages, thinking: bool, tools: list[Fields] | None = None) -> list[int]: ...
    def text(self, tokens: list[int]) -> str: ...


def answer_all(
    adapter_set: ChatBackend,
    prompts: Sequence[Prompt],
    out: Path,
    sampling: Sampling,
    thinking: bool = True,
    samples: int = 1,
    observe: Callable[[int, int, int], None] = lambda done, total, tokens: None,
) -> list[Answer]:
    """Answers of every run to every prompt, `samples` each. Those that the file has are not asked for again.

    Args:
        observe: is told after every forward how many answers are done, of how many, and the tokens so far.
    """
    answers = read_answers(out, Answer)
    done = {(answer.run, answer.id, answer.sample) for answer in answers}
    requests = [
        Request(
            adapter_set.prompt(prompt.messages, thinking, prompt.tools),
            adapter,
            sampling,
            (run, prompt.id, sample),
        )
        for run, adapter in adapter_set.adapters.items()
        for prompt in prompts
        for sample in range(samples)
        if (run, prompt.id, sample) not in done
    ]
    messages = {prompt.id: prompt.messages for prompt in prompts}

    def record(request: Request) -> Answer:
        run, name, sample = request.key
        answer = Answer(
            run=str(run),
            id=str(name),
            sample=int(sample),
            messages=messages[str(name)],
            answer=adapter_set.text(request.tokens),
            tokens=len(request.tokens),
            finish=str(request.finish),
        )
        answers.append(answer)
        return answer

    generator = adapter_set.generator()
    generator.add(requests)
    write_answers(generator, out, record, len(requests), observe)
    pairs = [(run, prompt.id) for run in adapter_set.adapters for prompt in prompts]
    order = {pair: index for index, pair in enumerate(pairs)}
    asked = [answer for answer in answers if (answer.run, answer.id) in order]
    return sorted(asked, key=lambda answer: (order[answer.run, answer.id], answer.sample))


def write_answers(
    generator: Any,
    out: Path,
    record: Callable[[Request], Record],
    total: int,
    observe: Callable[[int, int, int], None],
) -> None:
    """Lets a generator answer all its requests; what is finished is on the disk before the next step."""
    finished, tokens = 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        while generator.busy:
            advanced = generator.step()
            tokens += len(advanced)
            for request in advanced:
                if request.finish:
                    finished += 1
                    file.write(record(request).to_json() + "\n")
                    file.flush()
            observe(finished, total, tokens)


def read_answers(path: Path, kind: type[AnyRecord]) -> list[AnyRecord]:
    """The whole lines of an answer file; a torn last line is cut off, so that the file can go on."""
    if path.is_file():
        content = path.read_bytes()
        whole = content[: content.rfind(b"\n") + 1]
        if len(whole) < len(content):
            path.write_bytes(whole)
    return read_records(path, kind)


def stream(
    adapter_set: AdapterSet, name: str, messages: Messages, sampling: Sampling, thinking: bool
) -> Iterator[str]:
    """One answer, piece by piece."""
    request = Request(
        adapter_set.prompt(messages, thinking), adapter_set.adapters[name], sampling, (name, len(messages))
    )
    generator, sent = adapter_set.generator(), ""
    generator.add([request])
    while generator.busy:
        generator.step()
        text = adapter_set.text(request.tokens)
        if request.finish or not text.endswith("�"):  # half a character so far
            yield text[len(sent) :]
            sent = text
