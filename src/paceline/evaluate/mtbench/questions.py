"""The benchmark's questions, from the hub or from files in FastChat's form."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from paceline import embedded
from paceline.data.formats import Row
from paceline.errors import EvaluationError
from paceline.runs.files import parse_json

# Where the published questions lie: hub data set, and the file in it.
HUB = {"en": ("philschmid/mt-bench", "question.jsonl"), "ru": ("t-tech/ru-mt-bench", "raw/question.jsonl")}
# Categories whose answers are graded against a reference.
WITH_REFERENCE = ("math", "reasoning", "coding")


@dataclass(frozen=True, kw_only=True)
class Question:
    """`turns` are the user's; `reference` holds an answer to each, where the category has references."""

    id: str
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] | None = None


def load_questions(lang: str, limit: int = 0) -> list[Question]:
    """Questions of a language, of a file, or of a folder.

    Args:
        lang: `en` or `ru` (the published questions, from the hub), `embedded:en` or `embedded:ru` (a dozen of
            our own), a file of lines with question_id, category, turns and perhaps reference, or a folder
            with such a question.jsonl and perhaps reference_answer*.jsonl.
        limit: take so many, the first of each category in turn; 0: all.

    Raises:
        EvaluationError: not there, not readable (with the line), or no question in it.
    """
    path = _find(lang)
    folder = path if path.is_dir() else path.parent
    file = path / "question.jsonl" if path.is_dir() else path
    references = {
        str(row["question_id"]): _turns(row)
        for other in sorted(folder.glob("reference_answer*.jsonl"))
        for row in _rows(other).values()
    }
    questions = [_question(row, references, f"{file} line {number}") for number, row in _rows(file).items()]
    if not questions:
        raise EvaluationError(f"{file}: no question in it")
    return _spread(questions, limit) if limit else questions


def _find(lang: str) -> Path:
    if lang.startswith("embedded:"):
        path = embedded.QUESTIONS / f"{lang.removeprefix('embedded:')}.jsonl"
    else:
        path = Path(lang)
    if path.exists():
        return path
    if lang in HUB:
        return _download(*HUB[lang])
    known = " nor ".join(HUB)
    raise EvaluationError(f"--lang {lang!r}: neither {known} nor a file or folder with questions")


def _question(row: Row, references: dict[str, tuple[str, ...]], where: str) -> Question:
    try:
        name, turns = str(row["question_id"]), tuple(row["turns"])
    except (KeyError, TypeError) as error:
        raise EvaluationError(
            f"{where}: no {error} in it; a question has question_id, category and turns"
        ) from error
    if isinstance(row["turns"], str) or not all(isinstance(turn, str) for turn in turns):
        raise EvaluationError(f"{where}: turns is a list of texts")
    reference = references.get(name) or tuple(row.get("reference") or ())
    return Question(
        id=name, category=str(row.get("category", "all")), turns=turns, reference=reference or None
    )


def _spread(questions: list[Question], limit: int) -> list[Question]:
    """The first `limit` questions, one of each category in turn, in the file's order."""
    seen: Counter[str] = Counter()
    ranked = []
    for index, question in enumerate(questions):
        ranked.append((seen[question.category], index))
        seen[question.category] += 1
    return [questions[index] for index in sorted(index for _, index in sorted(ranked)[:limit])]


def _rows(file: Path) -> dict[int, Row]:
    """{line number: row} of a JSONL file."""
    if not file.is_file():
        raise EvaluationError(f"{file}: no such file")
    rows = {}
    for number, line in enumerate(file.read_bytes().split(b"\n"), 1):
        if not line.strip():
            continue
        try:
            rows[number] = parse_json(line)
        except ValueError as error:
            raise EvaluationError(f"{file} line {number}: broken JSON ({error})") from error
        if not isinstance(rows[number], dict):
            raise EvaluationError(f"{file} line {number}: a question is a JSON object")
    return rows


def _turns(row: Row) -> tuple[str, ...]:
    try:
        return tuple(str(turn) for turn in row["choices"][0]["turns"])
    except (KeyError, TypeError, IndexError) as error:
        raise EvaluationError(f"a reference answer without choices and turns: {str(row)[:200]}") from error


def _download(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset"))
    except Exception as error:  # the client raises many kinds, for the network and for the id alike
        raise EvaluationError(
            f"the questions of {repository} cannot be downloaded from the hub ({type(error).__name__}); "
            "give a file or folder with --lang"
        ) from error
