"""Answers of many runs to many prompts, into a file that grows line by line."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from paceline.data.formats import ROLES, Messages
from paceline.errors import EvaluationError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling


@dataclass(frozen=True)
class Prompt:
    """A conversation that ends where an answer is wanted."""

    id: str
    messages: Messages


def read_prompts(path: Path) -> list[Prompt]:
    """Prompts of a JSONL file: each line has `messages` or `prompt`, and `id` if it likes (else its number).

    Raises:
        EvaluationError: missing file; a line that is no such prompt (with its number); two with one id.
    """
    if not path.is_file():
        raise EvaluationError(f"{path}: no such file")
    found: list[Prompt] = []
    for number, line in enumerate(path.read_text().splitlines(), 1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{path} line {number}: broken JSON ({error.msg})") from error
        if not isinstance(row, dict):
            raise EvaluationError(f"{path} line {number}: expected an object with `prompt` or `messages`")
        found.append(Prompt(str(row.get("id", number)), _messages(row, f"{path} line {number}")))
    ids = [prompt.id for prompt in found]
    if twice := next((name for name in ids if ids.count(name) > 1), None):
        raise EvaluationError(f"{path}: id {twice!r} is used twice")
    return found


def _messages(row: dict[str, Any], where: str) -> Messages:
    if isinstance(row.get("prompt"), str):
        return [{"role": "user", "content": row["prompt"]}]
    turns = row.get("messages")
    if (
        not isinstance(turns, list)
        or not turns
        or not all(isinstance(t, dict) and t.get("role") in ROLES for t in turns)
    ):
        raise EvaluationError(
            f"{where}: neither `prompt` (text) nor `messages` (a list of {{role, content}})"
        )
    while turns and turns[-1]["role"] == "assistant":
        turns = turns[:-1]  # a training row: its answer is what is asked for
    return [{"role": str(turn["role"]), "content": str(turn["content"])} for turn in turns]


class ChatBackend(Protocol):
    """Who answers: a `Cast`, or the same over another engine."""

    @property
    def adapters(self) -> Mapping[str, Any]: ...
    def generator(self) -> Any: ...
    def prompt(self, messages: Messages, thinking: bool) -> list[int]: ...
    def text(self, tokens: list[int]) -> str: ...


def answer_all(
    adapter_set: ChatBackend, prompts: list[Prompt], out: Path, sampling: Sampling, thinking: bool = True, samples: int = 1,
    observe: Callable[[int, int, int], None] = lambda done, total, tokens: None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Answers of every run to every prompt, `samples` each. Lines that the file has already are not asked for again.

    A line: run, id, sample, messages, answer, tokens (how many), finish (stop or length).

    Args:
        observe: is told after every forward how many answers are done, of how many, and the tokens so far.
    """
    done = read_answers(out)
    keys = {(line["run"], line["id"], line["sample"]) for line in done}
    wanted = {
        (run, prompt.id, sample): Request(adapter_set.prompt(prompt.messages, thinking), adapter, sampling, (run, prompt.id, sample))
        for run, adapter in adapter_set.adapters.items() for prompt in prompts for sample in range(samples)
        if (run, prompt.id, sample) not in keys
    }  # fmt: skip
    messages = {prompt.id: prompt.messages for prompt in prompts}

    def line(request: Request) -> dict[str, Any]:
        run, name, sample = request.key
        done.append({
            "run": run, "id": name, "sample": sample, "messages": messages[str(name)], "answer": adapter_set.text(request.tokens),
            "tokens": len(request.tokens), "finish": request.finish,
        })  # fmt: skip
        return done[-1]

    generator = adapter_set.generator()
    generator.add(wanted.values())
    write_answers(generator, out, line, len(wanted), observe)
    order = {
        (run, prompt.id): place
        for place, (run, prompt) in enumerate((r, p) for r in adapter_set.adapters for p in prompts)
    }
    return sorted(
        (line for line in done if (line["run"], line["id"]) in order),
        key=lambda line: (order[line["run"], line["id"]], line["sample"]),
    )


def write_answers(
    generator: Any,
    out: Path,
    line: Callable[[Request], dict[str, Any]],
    total: int,
    observe: Callable[[int, int, int], None],
) -> None:
    """Lets a generator answer until it has nothing left. What `line` makes of a finished request is on the disk before the next step."""
    finished, tokens = 0, 0
    out.parent.mkdir(parents=True, exist_ok=True)
    with out.open("a") as file:
        while generator.busy:
            moved = generator.step()
            tokens += len(moved)
            for request in moved:
                if request.finish:
                    finished += 1
                    file.write(json.dumps(line(request), ensure_ascii=False) + "\n")
                    file.flush()
            observe(finished, total, tokens)


def read_answers(path: Path) -> list[dict[str, Any]]:
    """The whole lines of an answer file; a torn last line is cut off."""
    if not path.is_file():
        return []
    text = path.read_text()
    whole = text[: text.rfind("\n") + 1]
    if len(whole) < len(text):
        path.write_text(whole)
    return [json.loads(line) for line in whole.splitlines()]


def stream(
    adapter_set: AdapterSet, name: str, messages: Messages, sampling: Sampling, thinking: bool
) -> Iterator[str]:
    """One answer, piece by piece."""
    request = Request(
        adapter_set.prompt(messages, thinking), adapter_set.adapters[name], sampling, (name, len(messages))
    )
    generator, said = adapter_set.generator(), ""
    generator.add([request])
    while generator.busy:
        generator.step()
        text = adapter_set.text(request.tokens)
        if request.finish or not text.endswith("�"):  # half a character so far
            yield text[len(said) :]
            said = text
