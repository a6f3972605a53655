"""One prompt to the base and every adapter at once, in unnamed columns until somebody has voted."""

from __future__ import annotations

import asyncio
import random
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from paceline.board.votes import Vote, append_vote, read_votes, tally
from paceline.evaluate.adapters import load_adapters
from paceline.evaluate.serving.body import Body, RequestError
from paceline.evaluate.serving.engine import Asked, Engine
from paceline.evaluate.serving.reader import Reader

KEPT_ROUNDS = 50
LONGEST_PROMPT, MOST_TOKENS = 20_000, 256


@dataclass
class Playground:
    """The study's finished adapters over their base, loaded when first asked; one question at a time.

    A round is kept until it is voted on: its answers by who gave them, in the order of the columns.
    """

    folder: Path
    _engine: Engine | None = None
    _identities: dict[str, str] = field(default_factory=dict)
    _rounds: dict[str, Vote] = field(default_factory=dict)

    def load(self) -> None:
        """Loads what answers, once.

        Raises:
            PacelineError: no finished run, or several bases.
        """
        if self._engine is None:
            adapter_set = load_adapters([self.folder], with_base=True)
            self._identities = {name: adapter_set.identity(name) for name in adapter_set.adapters if name}
            self._engine = Engine(adapter_set)
            self._engine.start()

    def stop(self) -> None:
        if self._engine is not None:
            self._engine.stop()

    async def ask(self, prompt: str) -> tuple[str, list[str]]:
        """The round's number to vote with, and the greedy answers in an order that nobody knows.

        Raises:
            RequestError: a prompt that cannot be asked, or an answer that failed.
        """
        assert self._engine is not None
        if not 0 < len(prompt) <= LONGEST_PROMPT:
            raise RequestError(f"a prompt has between 1 and {LONGEST_PROMPT:,} characters")
        reader, loop, asked = Reader(self._engine.adapter_set), asyncio.get_running_loop(), list[Asked]()
        order = list(self._identities)
        random.SystemRandom().shuffle(order)
        for name in order:
            turns = [{"role": "user", "content": prompt}]
            asked += reader.read(
                Body(model=name, messages=turns, temperature=0, max_tokens=MOST_TOKENS), None, loop
            )
        for one in asked:
            self._engine.ask([one])
        try:
            answers = [await _whole(one) for one in asked]
        finally:
            for one in asked:
                one.gone = True
        number = secrets.token_urlsafe(12)
        self._rounds[number] = Vote(
            prompt=prompt,
            answers=dict(zip(order, answers, strict=True)),
            identities=self._identities,
            chosen=None,
        )
        while len(self._rounds) > KEPT_ROUNDS:
            self._rounds.pop(next(iter(self._rounds)))
        return number, answers

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

    def tally(self) -> list[str]:
        """What all votes come to, a line an adapter; of those on the adapters that answer now."""
        return [
            f"{name}: {wins} votes for it, {losses} for the base; preferred in {test.share.value:.0%}, 95% "
            f"from {test.share.low:.0%} to {test.share.high:.0%}, p {test.p:.3g}: {test.verdict}"
            if wins + losses
            else f"{name}: no vote yet that chose it or the base"
            for name, (wins, losses, test) in tally(read_votes(self.folder), self._identities).items()
        ]


async def _whole(asked: Asked) -> str:
    text = ""
    while True:
        piece = await asked.pieces.get()
        if piece.finish in ("error", "refused"):
            raise RequestError(piece.text, status=500)
        text += piece.text
        if piece.finish:
            return text
