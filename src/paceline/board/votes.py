"""Votes in the study's folder, and what they come to."""

from __future__ import annotations

import json
import os
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from paceline.errors import RunError
from paceline.evaluate.adapters import BASE
from paceline.runs.records import Record
from paceline.stats.votes import Preference, preference

FILE = "votes.jsonl"


class Vote(Record):
    """One prompt's answers by who gave them, and whose was chosen; None: none is better.

    `identities` are digests of what answered.
    """

    prompt: str
    answers: dict[str, str]
    identities: dict[str, str]
    chosen: str | None


def append_vote(folder: Path, vote: Vote) -> None:
    """Adds a vote to the study's, on the disk when this returns."""
    with (folder / FILE).open("a") as file:
        file.write(vote.model_dump_json() + "\n")
        file.flush()
        os.fsync(file.fileno())


def read_votes(folder: Path) -> list[Vote]:
    """The votes of a study, the first of each prompt.

    The same answers are no new evidence, and whoever has voted once knows which is the base's.

    Raises:
        RunError: a line that is no vote.
    """
    votes: dict[str, Vote] = {}
    if not (folder / FILE).is_file():
        return []
    for number, line in enumerate((folder / FILE).read_text().splitlines(), 1):
        try:
            vote = TypeAdapter(Vote).validate_python(json.loads(line))
        except (ValueError, ValidationError) as error:
            raise RunError(f"{folder / FILE} line {number}: not a vote; delete the line") from error
        votes.setdefault(vote.prompt, vote)
    return list(votes.values())


def tally(votes: list[Vote], identities: dict[str, str]) -> dict[str, tuple[int, int, Preference]]:
    """{adapter: votes for it, votes for the base, the test}; of votes on these very adapters alone.

    A vote says nothing of an adapter that was not asked, nor of one that answered as the base did, nor where
    a third was chosen.
    """
    adapters = [name for name in identities if name != BASE]
    found = {}
    for name in adapters:
        of_pair = [
            vote.chosen
            for vote in votes
            if {name, BASE} <= vote.answers.keys()
            and vote.answers[name] != vote.answers[BASE]
            and all(vote.identities.get(one) == identities[one] for one in (name, BASE))
        ]
        wins, losses = of_pair.count(name), of_pair.count(BASE)
        found[name] = wins, losses, preference(wins, losses, len(adapters))
    return found
