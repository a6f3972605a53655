"""How long the device works on ticks, without waiting for it."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


class DeviceClock:
    """Seconds of pieces of work: on a CPU known at once, on a GPU once the host has waited for it anyway."""

    def __init__(self, device: torch.device) -> None:
        self._cuda = device.type == "cuda"
        self._open: list[tuple[torch.cuda.Event, torch.cuda.Event, Callable[[float], None]]] = []

    def now(self) -> float | torch.cuda.Event:
        """A mark behind all that the device has been asked for so far."""
        if not self._cuda:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record()
        return event

    def tell_since(self, began: float | torch.cuda.Event, tell: Callable[[float], None]) -> None:
        """Tells the seconds since a mark, as soon as they are known."""
        ended = self.now()
        if isinstance(began, float) and isinstance(ended, float):
            tell(ended - began)
        else:
            self._open.append((began, ended, tell))  # type: ignore[arg-type]

    def settle(self) -> None:
        """Tells what is known by now."""
        while self._open and self._open[0][1].query():
            began, ended, tell = self._open.pop(0)
            tell(began.elapsed_time(ended) / 1000)
