"""One prompt to the base and some adapters at once, in unnamed columns until somebody has voted."""

from __future__ import annotations

import asyncio
import random
import secrets
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass, field
from pathlib import Path

from paceline.board.choice import finished_recipes
from paceline.board.votes import Vote, append_vote, read_votes, tally
from paceline.evaluate.adapters import BASE, load_adapters
from paceline.evaluate.serving.body import Body, RequestError
from paceline.evaluate.serving.engine import Asked, Engine, Piece
from paceline.evaluate.serving.reader import Reader

KEPT_ROUNDS = 50
LONGEST_PROMPT, MOST_TOKENS = 20_000, 256


class Round:
    """One prompt's answers under way, a column each; `answers` is what has been said so far."""

    def __init__(self, engine: Engine, prompt: str, order: list[str], asked: list[Asked]) -> None:
        self.engine, self.prompt, self.order = engine, prompt, order
        self.answers = [""] * len(asked)
        self._asked = asked

    async def pieces(self) -> AsyncGenerator[tuple[int, str]]:
        """(column, what is new of it), until all have ended; who looks away ends them.

        Raises:
            RequestError: an answer failed.
        """
        shared = asyncio.Queue[Piece]()
        for column, one in enumerate(self._asked):
            one.pieces, one.index = shared, column
        for one in self._asked:
            self.engine.ask([one])
        left = len(self._asked)
        try:
            while left:
                piece = await shared.get()
                if piece.finish in ("error", "refused"):
                    raise RequestError(piece.text, status=500)
                self.answers[piece.index] += piece.text
                left -= piece.finish is not None
                yield piece.index, piece.text
        finally:
            for one in self._asked:
                one.gone = True


@dataclass
class Playground:
    """The study's finished adapters over their base, loaded when asked; one question at a time.

    A round is kept until it is voted on: its answers by who gave them, in the order of the columns.
    """

    folder: Path
    _engine: Engine | None = None
    _paths: list[Path] = field(default_factory=list)
    _identities: dict[str, str] = field(default_factory=dict)
    _rounds: dict[str, Vote] = field(default_factory=dict)

    def load(self) -> None:
        """Loads all that may answer, again when another run has finished.

        Raises:
            PacelineError: no finished run, or several bases.
        """
        paths = [run.path for runs in finished_recipes(self.folder).values() for run in runs]
        if self._engine is None or self._paths != paths:
            adapter_set = load_adapters(paths, with_base=True)
            self.stop()
            self._identities = {name: adapter_set.identity(name) for name in adapter_set.adapters if name}
            self._engine, self._paths = Engine(adapter_set), paths
            self._engine.start()

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()

    def ask(self, prompt: str, runs: Iterable[str]) -> Round:
        """A round of the base and some runs on its way, its columns in an order that nobody knows.

        Raises:
            RequestError: a prompt that cannot be asked.
        """
        assert self._engine is not None
        if not 0 < len(prompt) <= LONGEST_PROMPT:
            raise RequestError(f"a prompt has between 1 and {LONGEST_PROMPT:,} characters")
        reader, loop, asked = Reader(self._engine.adapter_set), asyncio.get_running_loop(), list[Asked]()
        order = [BASE, *runs]
        random.SystemRandom().shuffle(order)
        for name in order:
            turns = [{"role": "user", "content": prompt}]
            asked += reader.read(
                Body(model=name, messages=turns, temperature=0, max_tokens=MOST_TOKENS), None, loop
            )
        return Round(self._engine, prompt, order, asked)

    def keep(self, round: Round) -> str:
        """Keeps a round that was answered; the number to vote with."""
        number = secrets.token_urlsafe(12)
        self._rounds[number] = Vote(
            prompt=round.prompt,
            answers=dict(zip(round.order, round.answers, strict=True)),
            identities={name: self._identities[name] for name in round.order},
            chosen=None,
        )
        while len(self._rounds) > KEPT_ROUNDS:
            self._rounds.pop(next(iter(self._rounds)))
        return number

    def vote(self, number: str, choice: str) -> Vote:
        """Records a vote for a column, counted from 0, or for `none` of them; says who answered what.

        Raises:
            RequestError: no such round or column, or a round that was voted on.
        """
        vote = self._rounds.get(number)
        if vote is None:
            raise RequestError("this question was voted on, or is too old; ask again", status=409)
        order = list(vote.answers)
        if choice != "none" and choice not in map(str, range(len(order))):
            raise RequestError("a vote names one of the answers, or none")
        vote = vote.model_copy(update={"chosen": None if choice == "none" else order[int(choice)]})
        append_vote(self.folder, vote)
        del self._rounds[number]
        return vote

    @property
    def comparisons(self) -> int:
        """The adapters that may answer: verdicts hold for all of them together, whoever is chosen to."""
        return max(1, len(self._identities) - 1)

    def tally(self, runs: Iterable[str]) -> list[str]:
        """What all votes come to, a line an adapter: for `runs`, and for others that have votes."""
        shown = set(runs)
        return [
            f"{name}: {wins} votes for it, {losses} for the base; preferred in {test.share.value:.0%}, 95% "
            f"from {test.share.low:.0%} to {test.share.high:.0%}, p {test.p:.3g}: {test.verdict}"
            if wins + losses
            else f"{name}: no vote yet that chose it or the base"
            for name, (wins, losses, test) in tally(read_votes(self.folder), self._identities).items()
            if wins + losses or name in shown
        ]
