"""Answers before and after training, question by question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from pathlib import Path

from paceline.comparison.recipes import BASE
from paceline.runs.directory import RunDirectory
from paceline.runs.evaluations import Answer, TurnAnswer
from paceline.runs.events import ScoreEvent, of_kind, read_events
from paceline.runs.records import read_records
from paceline.runs.study import RecipeGroup

# Whose answers are shown beside the base's, and how many characters a page carries of all of them.
MAX_RECIPES, MAX_CHARACTERS = 6, 1_000_000
# (suite, question, turn or sample).
Key = tuple[str, str, int]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One question with the base's answer, and each recipe's first replicate's."""

    suite: str
    question: str
    before: str
    after: dict[str, str]

    @property
    def characters(self) -> int:
        """How long it is, with all answers."""
        return len(self.question) + len(self.before) + sum(map(len, self.after.values()))


def read_samples(recipes: Sequence[RecipeGroup]) -> tuple[list[Sample], int]:
    """The questions that the base and a recipe answered, MT-Bench first, and how many were left out.

    Answers are of the first `MAX_RECIPES` recipes; questions end at `MAX_CHARACTERS`.
    """
    samples: dict[Key, Sample] = {}
    for group in recipes[:MAX_RECIPES]:
        for key, question, before, after in _pairs(group.directories[0].eval, group.directories[0].name):
            sample = Sample(suite=key[0], question=question, before=before, after={})
            samples.setdefault(key, sample).after[group.name] = after
    kept, characters = [], 0
    for sample in samples.values():
        characters += sample.characters
        if characters > MAX_CHARACTERS:
            break
        kept.append(sample)
    return kept, len(samples) - len(kept)


@dataclass(frozen=True, kw_only=True)
class OnTheWay:
    """What a recipe's first replicate answered to one question while it trained; step 0 is the base."""

    recipe: str
    question: str
    answers: dict[int, str]


def read_on_the_way(recipes: Sequence[RecipeGroup]) -> list[OnTheWay]:
    """The answers that were asked for while training, of the first `MAX_RECIPES`, up to `MAX_CHARACTERS`."""
    found: dict[tuple[str, str, int], OnTheWay] = {}
    for group in recipes[:MAX_RECIPES]:
        for step, line in _asked(group.directories[0]):
            own = OnTheWay(recipe=group.name, question=line.question, answers={})
            found.setdefault((group.name, line.id, line.turn), own).answers[step] = line.answer
    lengths = accumulate(len(own.question) + sum(map(len, own.answers.values())) for own in found.values())
    return [own for own, until in zip(found.values(), lengths, strict=True) if until <= MAX_CHARACTERS]


def _asked(directory: RunDirectory) -> Iterator[tuple[int, TurnAnswer]]:
    """(step, answer) of the steps that the log has a score of; a kill may have left another."""
    if (
        not directory.asked_folder.is_dir()
    ):  # most runs are asked nothing, and need no second reading of their log
        return
    for event in of_kind(read_events(directory.events, last_norms_only=True), ScoreEvent):
        if (file := directory.asked(event.step)).is_file():
            yield from ((event.step, line) for line in read_records(file, TurnAnswer))


def _pairs(folder: Path, run: str) -> Iterator[tuple[Key, str, str, str]]:
    """(key, question, the base's answer, the run's answer) of what both answered."""
    files = sorted(folder.glob("*-answers.jsonl"), key=lambda file: (file.name[:8] != "mtbench-", file.name))
    for file in files:
        suite = file.name.removesuffix("-answers.jsonl")
        own: dict[tuple[str, int], tuple[str, str]] = {}
        base: dict[tuple[str, int], str] = {}
        lines: Sequence[TurnAnswer | Answer] = (
            read_records(file, TurnAnswer) if suite == "mtbench" else read_records(file, Answer)
        )
        for line in lines:
            key = line.id, line.turn if isinstance(line, TurnAnswer) else line.sample
            if line.run == run:
                own[key] = line.question, line.answer
            elif line.run == BASE:
                base[key] = line.answer
        for key, (question, answer) in own.items():
            if key in base:
                yield (suite, *key), question, base[key], answer
