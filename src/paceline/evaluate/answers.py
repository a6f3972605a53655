"""Answers of many runs to many prompts, into a file that grows line by line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

from paceline.config.fields import Fields
from paceline.data.formats import Messages, read_prompt
from paceline.data.read_text import read_text_rows
from paceline.data.text import text_of
from paceline.errors import DataError, EvaluationError, RunError
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request, Sampling
from paceline.runs.digests import value_digest
from paceline.runs.evaluations import Answer
from paceline.runs.records import AnyRecord, Record, read_records, write_records
from paceline.runs.seals import unseal


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
    for row in read_text_rows(path):
        where = f"{path} line {row.line}"
        if row.fields is None:
            raise EvaluationError(f"{where}: {row.reason}")
        try:
            read = read_prompt(row.fields)
            name = text_of(row.fields.get("id", row.line), "id")
        except DataError as error:
            raise EvaluationError(f"{where}: {error}") from error
        prompts.append(Prompt(name, read.messages, read.tools))
    counts = Counter(prompt.id for prompt in prompts)
    if twice := next((name for name, count in counts.items() if count > 1), None):
        raise EvaluationError(f"{path}: id {twice!r} is used twice")
    return prompts


class ChatBackend(Protocol):
    """What answers: an `AdapterSet`, or the same over another engine."""

    @property
    def adapters(self) -> Mapping[str, Any]: ...
    def generator(self) -> Any: ...
    def identity(self, run: str) -> str:
        """The digest of all that answers under a name: base, adapter, engine, where an answer stops."""
        ...

    def prompt(self, messages: Messages, thinking: bool, tools: list[Fields] | None = None) -> list[int]: ...
    def text(self, tokens: list[int]) -> str: ...


def answer_all(
    adapter_set: ChatBackend,
    prompts: Sequence[Prompt],
    out: Path,
    sampling: Sampling,
    thinking: bool = False,
    samples: int = 1,
    observe: Callable[[int, int, int], None] = lambda done, total, tokens: None,
    log: Callable[[str], None] = lambda line: None,
) -> list[Answer]:
    """Answers of every run to every prompt, `samples` each.

    Those that the file has are not asked for again, if prompt, sampling, adapter and base are the same;
    others of the same run, id and sample are replaced.

    Args:
        observe: is told after every forward how many answers are done, of how many, and the tokens so far.
        log: takes a line about answers that are replaced.

    Raises:
        EvaluationError: a file that holds something else; it stays as it is.
    """
    stored = read_answers(out, Answer)
    asked: dict[tuple[int | str, ...], Request] = {}
    digests: dict[tuple[int | str, ...], str] = {}
    for run, adapter in adapter_set.adapters.items():
        identity = adapter_set.identity(run)
        for prompt in prompts:
            tokens = adapter_set.prompt(prompt.messages, thinking, prompt.tools)
            for sample in range(samples):
                request = Request(tokens, adapter, sampling, (run, prompt.id, sample))
                asked[request.key] = request
                digests[request.key] = request_digest(identity, request)
    answers = keep_answers(out, stored, lambda a: digests.get(_key(a), a.asked) == a.asked, log)
    done = {_key(answer) for answer in answers}
    requests = [request for key, request in asked.items() if key not in done]
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
            asked=digests[request.key],
        )
        answers.append(answer)
        return answer

    generator = adapter_set.generator()
    generator.add(requests)
    write_answers(generator, out, record, len(requests), observe)
    pairs = [(run, prompt.id) for run in adapter_set.adapters for prompt in prompts]
    order = {pair: index for index, pair in enumerate(pairs)}
    wanted = [answer for answer in answers if _key(answer) in asked]
    return sorted(wanted, key=lambda answer: (order[answer.run, answer.id], answer.sample))


def _key(answer: Answer) -> tuple[int | str, ...]:
    return answer.run, answer.id, answer.sample


def request_digest(identity: str, request: Request) -> str:
    """The digest of all that decides an answer; `identity` is of what answers."""
    return value_digest([identity, request.prompt, asdict(request.sampling)])


def keep_answers(
    out: Path, stored: list[AnyRecord], is_asked: Callable[[AnyRecord], bool], log: Callable[[str], None]
) -> list[AnyRecord]:
    """The stored answers that may stay; the others are taken out of the file, and told."""
    kept = [answer for answer in stored if is_asked(answer)]
    if len(kept) < len(stored):
        log(
            f"{out}: {len(stored) - len(kept)} of its {len(stored)} answers were to other prompts or "
            "settings, or by other weights; these are answered anew"
        )
        write_records(out, kept)
    return kept


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
    unseal(out)
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
    """The whole lines of an answer file; a torn last line is cut off, so that the file can go on.

    Raises:
        EvaluationError: a file that holds something else; it stays as it is.
    """
    if not path.exists():
        return []
    choose = "choose another file, or delete this one; nothing in it was changed"
    try:
        answers = read_records(path, kind)
        content = path.read_bytes()
    except (RunError, OSError) as error:
        raise EvaluationError(f"{path} holds something else than answers; {choose}") from error
    whole = content[: content.rfind(b"\n") + 1]
    torn = content[len(whole) :]
    if torn and not answers and not torn.startswith(b'{"run":'[: len(torn)]):
        raise EvaluationError(f"{path} holds something else than answers; {choose}")
    if torn:
        path.write_bytes(whole)
    return answers


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
