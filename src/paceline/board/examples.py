"""The rows that runs learn from, as the model sees them: what is supervised and what is not."""

from __future__ import annotations

from dataclasses import dataclass

from paceline.data.chat import load_chat
from paceline.data.describe import supervised_spans
from paceline.data.tokens import load_tokens
from paceline.errors import DataError
from paceline.runs.directory import RunDirectory

SHOWN, SEARCHED = 10, 2_000


@dataclass(frozen=True)
class Example:
    """An example by its number from 1, and its text as (text, whether it is supervised), in order."""

    number: int
    spans: list[tuple[str, bool]]


@dataclass(frozen=True)
class Shelf:
    """Some examples of `total`; the next ones begin at `following` (None: there are none)."""

    examples: list[Example]
    total: int
    following: int | None


def browse(directory: RunDirectory, start: int, search: str) -> Shelf:
    """The examples of a run's data from number `start` on that hold a text, in upper or lower case.

    Raises:
        PacelineError: the data cannot be read; no such example.
    """
    recipe = directory.recipe()
    chat = load_chat(recipe.base, recipe.data.chat_template, recipe.new_tokens)
    dataset = load_tokens(recipe.data, chat, recipe.loss_on)
    if not 1 <= start <= len(dataset):
        raise DataError(f"there are {len(dataset):,} examples, from 1 on")
    found: list[Example] = []
    place = start - 1
    for place in range(start - 1, min(len(dataset), start - 1 + SEARCHED)):
        spans = supervised_spans(dataset, chat, place)
        if search.lower() in "".join(text for text, _ in spans).lower():
            found.append(Example(place + 1, spans))
        if len(found) == SHOWN:
            break
    return Shelf(found, len(dataset), place + 2 if place + 1 < len(dataset) else None)
