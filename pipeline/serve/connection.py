"""Connections that nobody uses are closed. uvicorn's own wait for the first request, and for its header, for ever."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SEC = 60.0
"""Seconds in which a connection must bring the whole header of its first request, and take the rest of its last response."""


class Connection(H11Protocol):
    """A connection that is cut off if it carries no request for `IDLE_SEC`.

    While a request is answered, its own limits hold. After a response, uvicorn already closes a connection that is silent for
    five seconds; here the client must have read that response as well.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn's
        """Begins to wait for a request."""
        super().connection_made(transport)
        self._watch()

    def data_received(self, data: bytes) -> None:
        """Takes bytes of the client, which may complete a header."""
        super().data_received(data)
        self._watch()

    def on_response_complete(self) -> None:
        """Begins to wait for the next request, unless it is there already."""
        super().on_response_complete()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _watch(self) -> None:
        """Waits while no request is answered; a client that sends its header byte by byte wins no time."""
        if self.cycle is not None and not self.cycle.response_complete:
            self._stop_waiting()
        elif self._limit is None:
            self._limit = self.loop.call_later(IDLE_SEC, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
