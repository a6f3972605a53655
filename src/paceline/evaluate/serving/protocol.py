"""uvicorn with an end to its patience: for headers that do not come, and for answers after a signal."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

HEADER_SECONDS = 10.0
# After SIGTERM: until answers under way end with an error, and until those whose reader does not read are cut
# off, so that all ends within ten.
ANSWER_SECONDS, READER_SECONDS = 8, 9


class PatientServer(uvicorn.Server):
    """Told to end, it finishes answers under way; those that take too long end with an error."""

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Nothing is accepted any more; what is under way may go on for a while."""
        under_way = self.config.app.state.under_way  # type: ignore[union-attr]
        timer = asyncio.get_running_loop().call_later(ANSWER_SECONDS, under_way.end)
        await super().shutdown(sockets)
        timer.cancel()


class PatientProtocol(H11Protocol):
    """Closes a connection whose request line and headers are not whole after HEADER_SECONDS."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        """The first headers are awaited."""
        super().connection_made(transport)
        self._await_headers()

    def data_received(self, data: bytes) -> None:
        """Headers are whole once a request is under way."""
        super().data_received(data)
        self._await_headers()

    def connection_lost(self, exc: Exception | None) -> None:
        """Nothing is awaited any more."""
        self._cancel()
        super().connection_lost(exc)

    def _await_headers(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:
            self._cancel()
        elif self._timer is None:
            self._timer = self.loop.call_later(HEADER_SECONDS, self.transport.close)

    def _cancel(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
