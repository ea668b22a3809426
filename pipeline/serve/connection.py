"""Connections whose clients do nothing are cut off. uvicorn's own wait for ever: for a header, or for a client that reads."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

IDLE_SEC = 60.0
"""Seconds in which a connection must bring the whole header of a request, or take some of a response that waits for it."""


class Connection(H11Protocol):
    """A connection that is cut off if its client keeps the server waiting for `IDLE_SEC`.

    It does so while no request is answered, and while a response is held up because the client does not read. Otherwise the
    limits of the request hold.
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

    def pause_writing(self) -> None:
        """Begins to wait for a client that has much to read."""
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        """Goes on, since the client has read."""
        super().resume_writing()
        self._watch()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops waiting."""
        super().connection_lost(exc)
        self._stop_waiting()

    def _watch(self) -> None:
        """Starts or stops the clock; a client that sends its header byte by byte wins no time."""
        is_answering = self.cycle is not None and not self.cycle.response_complete
        if is_answering and not self.flow.write_paused:
            self._stop_waiting()
        elif self._limit is None:
            self._wait()

    def _wait(self) -> None:
        self._limit = self.loop.call_later(IDLE_SEC, self._end, self.transport.get_write_buffer_size())

    def _end(self, unread_bytes: int) -> None:
        """Cuts the connection off, unless its client has read some of so many bytes: then it waits once more."""
        if self.transport.get_write_buffer_size() < unread_bytes:
            self._wait()
        else:
            self.transport.abort()

    def _stop_waiting(self) -> None:
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
