"""The benchmark's questions, from the hub or from files in FastChat's form."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from paceline import embedded
from paceline.errors import EvaluationError

# Where the published questions lie: hub data set, and the file in it.
HUB = {"en": ("philschmid/mt-bench", "question.jsonl"), "ru": ("t-tech/ru-mt-bench", "raw/question.jsonl")}
# Categories whose answers are graded against a reference.
WITH_REFERENCE = ("math", "reasoning", "coding")


@dataclass(frozen=True)
class Question:
    """`turns` are the user's; `reference` holds an answer to each, where the category has references."""

    id: str
    category: str
    turns: tuple[str, ...]
    reference: tuple[str, ...] | None


def load_questions(wanted: str, limit: int = 0) -> list[Question]:
    """Questions of a language (`en`, `ru`, from the hub; `embedded:en`, `embedded:ru`, a dozen of our own) or of a file or folder; `limit` takes the first of each category in turn, 0 all.

    A folder holds question.jsonl and perhaps reference_answer*.jsonl. A line: question_id, category, turns, and reference if it likes.

    Raises:
        EvaluationError: not there, not readable (with the line), or no question in it.
    """
    path = (
        embedded.QUESTIONS / f"{wanted.removeprefix('embedded:')}.jsonl"
        if wanted.startswith("embedded:")
        else Path(wanted)
    )
    if wanted in HUB and not path.exists():
        path = _download(*HUB[wanted])
    elif not path.exists():
        raise EvaluationError(
            f"--lang {wanted!r}: neither {' nor '.join(HUB)} nor a file or folder with questions"
        )
    folder = path if path.is_dir() else path.parent
    file = path / "question.jsonl" if path.is_dir() else path
    references = {
        str(row["question_id"]): _turns(row)
        for other in sorted(folder.glob("reference_answer*.jsonl"))
        for row in _rows(other)
    }
    found = []
    for number, row in enumerate(_rows(file), 1):
        try:
            name, turns = str(row["question_id"]), tuple(str(turn) for turn in row["turns"])
        except (KeyError, TypeError) as error:
            raise EvaluationError(
                f"{file} line {number}: no {error} in it; a question has question_id, category and turns"
            ) from error
        given = references.get(name) or tuple(row.get("reference") or ())
        found.append(Question(name, str(row.get("category", "all")), turns, given or None))
    if not found:
        raise EvaluationError(f"{file}: no question in it")
    return _spread(found, limit) if limit else found


def _spread(questions: list[Question], limit: int) -> list[Question]:
    """The first `limit` questions, one of each category in turn, in the file's order."""
    places: dict[str, int] = {}
    ranked = []
    for place, question in enumerate(questions):
        ranked.append((places.setdefault(question.category, 0), place))
        places[question.category] += 1
    chosen = sorted(place for _, place in sorted(ranked)[:limit])
    return [questions[place] for place in chosen]


def _rows(file: Path) -> list[dict[str, Any]]:
    if not file.is_file():
        raise EvaluationError(f"{file}: no such file")
    rows = []
    for number, line in enumerate(file.read_text().splitlines(), 1):
        try:
            rows += [json.loads(line)] if line.strip() else []
        except json.JSONDecodeError as error:
            raise EvaluationError(f"{file} line {number}: broken JSON ({error.msg})") from error
    return rows


def _turns(row: dict[str, Any]) -> tuple[str, ...]:
    return tuple(str(turn) for turn in row["choices"][0]["turns"])


def _download(repository: str, file: str) -> Path:
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download(repository, file, repo_type="dataset"))
    except Exception as error:  # the client raises many kinds, for the network and for the id alike
        raise EvaluationError(
            f"the questions of {repository} cannot be had from the hub ({type(error).__name__}); give a file or folder with --lang"
        ) from error
