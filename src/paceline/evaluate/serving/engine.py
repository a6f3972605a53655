"""The thread that owns the model: requests enter between two forwards, each of which advances all."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import dataclass, field
from queue import SimpleQueue

from paceline.evaluate.adapters import AdapterSet
from paceline.evaluate.generate import Request


@dataclass(eq=False)
class Asked:
    """One answer under way. Text comes through `pieces`, at their end a finish reason or an error."""

    request: Request
    stops: list[str]
    loop: asyncio.AbstractEventLoop
    pieces: asyncio.Queue[tuple[str, str | None]] = field(default_factory=asyncio.Queue)
    said: str = ""
    gone: bool = False

    def put(self, text: str, finish: str | None) -> None:
        self.loop.call_soon_threadsafe(self.pieces.put_nowait, (text, finish))


class Engine:
    """A thread that owns the model: requests enter between two forwards, each of which advances all."""

    def __init__(self, adapter_set: AdapterSet) -> None:
        self.adapter_set = adapter_set
        self._arrived: SimpleQueue[Asked | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._arrived.put(None)
        self._thread.join()

    def ask(self, asked: Asked) -> None:
        self._arrived.put(asked)

    def _run(self) -> None:
        generator = self.adapter_set.generator()
        asking: dict[int, Asked] = {}
        while True:
            while not asking or not self._arrived.empty():
                asked = self._arrived.get()
                if asked is None:
                    return
                try:
                    generator.add([asked.request])
                except Exception as error:  # its own fault, and nobody else's
                    asked.put(f"{type(error).__name__}: {error}", "error")
                else:
                    asking[id(asked.request)] = asked
            try:
                for request in generator.step():
                    if self._tell(asking[id(request)]):
                        del asking[id(request)]
                        generator.drop(request)
            except Exception as error:  # the server lives on; those who were waiting are told
                for asked in asking.values():
                    asked.put(f"{type(error).__name__}: {error}", "error")
                asking, generator = {}, self.adapter_set.generator()

    def _tell(self, asked: Asked) -> bool:
        """Passes on what is new of an answer; whether it is at its end."""
        request = asked.request
        text, finish = self.adapter_set.text(request.tokens), request.finish
        ended = next((place for stop in asked.stops if (place := text.find(stop)) >= 0), None)
        if ended is not None:
            text, finish = text[:ended], "stop"
        if asked.gone:
            finish = finish or "gone"
        held = 0 if finish else max((_overlap(text, stop) for stop in asked.stops), default=0)
        whole = text[: len(text) - held]
        if finish or not whole.endswith("�"):  # half a character so far
            if len(whole) > len(asked.said) or finish:
                asked.put(whole[len(asked.said) :], finish)
            asked.said = whole
        return finish is not None


def _overlap(text: str, stop: str) -> int:
    """How many characters at the end of the text may be the beginning of a stop text."""
    return next(
        (size for size in range(min(len(text), len(stop) - 1), 0, -1) if stop.startswith(text[-size:])), 0
    )
