"""The thread that owns the model: concurrent requests share one batch, and one that fails fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

from paceline.config.fields import Fields
from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Generator, Request
from paceline.evaluate.serving.rules import Chosen, Rules
from paceline.evaluate.serving.tool_calls import OPEN, read_answer


@dataclass(frozen=True)
class Piece:
    """What is new of one of a request's answers; at its end a finish reason, `error`, `refused` or `ends`."""

    index: int
    text: str
    finish: str | None
    chosen: list[Chosen] = field(default_factory=list)
    calls: list[Fields] = field(default_factory=list)


@dataclass(eq=False)
class Asked:
    """One answer under way. What is new of it comes through `pieces`, which a request's answers share."""

    request: Request
    stops: list[str]
    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[Piece] = field(default_factory=asyncio.Queue)
    index: int = 0
    rules: Rules | None = None
    has_tools: bool = False
    said: str = ""
    noted: int = 0  # tokens whose log probabilities are passed on
    gone: bool = False  # whoever asked hung up

    def put(self, text: str, finish: str | None, calls: list[Fields] | None = None, noted: int = 0) -> None:
        """Passes on what is new, with the log probabilities of the tokens up to `noted`."""
        chosen = self.rules.chosen[self.noted : noted] if self.rules else []
        self.noted = max(self.noted, noted)
        if not self.loop.is_closed():
            piece = Piece(self.index, text, finish, chosen, calls or [])
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, piece)

    def end(self, why: str) -> None:
        """Ends all answers of its request, for the server ends; from the event loop."""
        self.gone = True
        self.pieces.put_nowait(Piece(self.index, why, "ends"))

    def again(self) -> Asked:
        """The same from its first token, with a prefill of its own; what was said is not said twice."""
        old, self.rules = self.request, self.rules and self.rules.again()
        self.request = Request(old.prompt, old.adapter, old.sampling, old.key, rules=self.rules)
        return self


class Engine:
    """Requests enter between two forwards, each of which advances all."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self._arrived: SimpleQueue[list[Asked] | None] = SimpleQueue()
        self._suspects: deque[Asked] = deque()  # they shared a batch that failed; each goes on alone
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended = True
        self._arrived.put(None)  # wakes it
        self._thread.join()

    def ask(self, asked: list[Asked]) -> None:
        """Takes a request's answers; all but the first are its twins."""
        self._arrived.put(asked)

    def _run(self) -> None:
        generator = self.adapter_set.generator()
        asking: dict[int, Asked] = {}
        alone = False
        while not self._ended:
            if not asking:
                alone = bool(self._suspects)
            arrived = [[self._suspects.popleft()]] if alone and not asking else []
            while not alone and (not (asking or arrived) or not self._arrived.empty()):
                if (asked := self._arrived.get()) is None:
                    return
                arrived.append(asked)
            asking |= {id(asked.request): asked for answers in arrived for asked in answers}
            try:
                generator.add([answers[0].request for answers in arrived])
                self._advance(generator, asking)
            except Exception as error:  # the server lives on
                failed, asking, generator = list(asking.values()), {}, self.adapter_set.generator()
                if len(failed) == 1:
                    failed[0].put(f"{type(error).__name__}: {error}", "error")
                else:
                    self._suspects.extend(asked.again() for asked in failed)

    def _advance(self, generator: Generator, asking: dict[int, Asked]) -> None:
        for key, asked in list(asking.items()):
            if asked.gone:
                del asking[key]
                generator.drop(asked.request)
        for request in generator.step() if generator.busy else []:
            if self._tell(asking[id(request)]):
                del asking[id(request)]
                generator.drop(request)

    def _tell(self, asked: Asked) -> bool:
        """Passes on what is new of an answer; whether it is at its end."""
        request = asked.request
        if asked.rules is not None and asked.rules.failed:
            asked.put(f"response_format: {asked.rules.failed}", "refused")
            return True
        text, finish = self.adapter_set.text(request.tokens), request.finish
        ended = next((place for stop in asked.stops if (place := text.find(stop)) >= 0), None)
        if ended is not None:
            text, finish = text[:ended], "stop"
        calls: list[Fields] = []
        if asked.has_tools and finish:
            text, calls = read_answer(text)
            finish = "tool_calls" if calls and finish == "stop" else finish
        whole = text if finish else _sure(text, asked)
        if finish or not whole.endswith("�"):  # half a character so far
            if len(whole) > len(asked.said) or finish:
                noted = len(request.tokens) if finish and ended is None else self._covering(asked, whole)
                asked.put(whole[len(asked.said) :], finish, calls, noted)
            asked.said = max(asked.said, whole, key=len)
        return finish is not None

    def _covering(self, asked: Asked, text: str) -> int:
        """How many of an answer's tokens it takes to say a text that it begins with."""
        if asked.rules is None or asked.rules.top is None:
            return 0
        tokens = asked.request.tokens
        count = len(tokens)
        while count and len(self.adapter_set.text(tokens[: count - 1])) >= len(text):
            count -= 1
        return count


def _sure(text: str, asked: Asked) -> str:
    """What of an unfinished answer can be said: not what may begin a stop text or a tool call."""
    marks = asked.stops
    if asked.has_tools:
        text, marks = text.partition(OPEN)[0], [*marks, OPEN]
    text = text[: len(text) - max((overlap(text, mark) for mark in marks), default=0)]
    return text.rstrip() if asked.has_tools else text  # what stands before a call is said without its break


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    return next(
        (size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0
    )
