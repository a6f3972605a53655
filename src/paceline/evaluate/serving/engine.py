"""The thread that owns the model: concurrent requests share one batch, and one that fails fails alone."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from dataclasses import dataclass, field
from queue import SimpleQueue

from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Generator, Request


@dataclass(eq=False)
class Asked:
    """One answer under way. Text comes through `pieces`, at their end a finish reason or an error."""

    request: Request
    stops: list[str]
    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[tuple[str, str | None]] = field(default_factory=asyncio.Queue)
    said: str = ""
    gone: bool = False  # whoever asked hung up

    def put(self, text: str, finish: str | None) -> None:
        if not self.loop.is_closed():
            self.loop.call_soon_threadsafe(self.pieces.put_nowait, (text, finish))

    def again(self) -> Asked:
        """The same from its first token; what was said is not said twice."""
        old = self.request
        self.request = Request(old.prompt, old.adapter, old.sampling, old.key)
        return self


class Engine:
    """Requests enter between two forwards, each of which advances all."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self._arrived: SimpleQueue[Asked | None] = SimpleQueue()
        self._suspects: deque[Asked] = deque()  # they shared a batch that failed; each goes on alone
        self._ended = False
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._ended = True
        self._arrived.put(None)  # wakes it
        self._thread.join()

    def ask(self, asked: Asked) -> None:
        self._arrived.put(asked)

    def _run(self) -> None:
        generator = self.adapter_set.generator()
        asking: dict[int, Asked] = {}
        alone = False
        while not self._ended:
            if not asking:
                alone = bool(self._suspects)
            arrived = [self._suspects.popleft()] if alone and not asking else []
            while not alone and (not (asking or arrived) or not self._arrived.empty()):
                if (asked := self._arrived.get()) is None:
                    return
                arrived.append(asked)
            asking |= {id(asked.request): asked for asked in arrived}
            try:
                generator.add([asked.request for asked in arrived])
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
        text, finish = self.adapter_set.text(request.tokens), request.finish
        ended = next((place for stop in asked.stops if (place := text.find(stop)) >= 0), None)
        if ended is not None:
            text, finish = text[:ended], "stop"
        held = 0 if finish else max((overlap(text, stop) for stop in asked.stops), default=0)
        whole = text[: len(text) - held]
        if finish or not whole.endswith("�"):  # half a character so far
            if len(whole) > len(asked.said) or finish:
                asked.put(whole[len(asked.said) :], finish)
            asked.said = max(asked.said, whole, key=len)
        return finish is not None


def overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    return next(
        (size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0
    )
