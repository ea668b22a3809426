"""Runs the application until a signal ends it. Then what runs and waits gets its answer, and new requests get 503."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import socket
import sys
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from pipeline.serve.connection import Connection
from pipeline.serve.service import CountingService

_RESPONSE_SEC = 5
"""Seconds that clients may take to send the rest of a request and to read their last answer."""

_LAST_SEC = 0.2
"""Seconds in which requests on connections that were accepted last are read and answered."""

_MAX_CONNECTIONS = 512
"""Connections at once; others get 503."""

_MAX_FILES = 4 * _MAX_CONNECTIONS
"""Files that may be open: a connection with an upload has two. Systems commonly allow 1,024 unless a process asks for more."""


class Server(uvicorn.Server):
    """A server that answers all that it has taken before it ends."""

    def __init__(self, app: ASGIApp, service: CountingService, grace_sec: float) -> None:
        """Creates a server that does not listen yet.

        Args:
          app: The application.
          service: The service behind it.
          grace_sec: Most seconds for what runs and waits when the server is told to end.
        """
        super().__init__(
            uvicorn.Config(
                app,
                access_log=False,
                log_config=None,
                http=Connection,
                lifespan="on",
                ws="none",
                server_header=False,
                limit_concurrency=_MAX_CONNECTIONS,
                timeout_graceful_shutdown=_RESPONSE_SEC,
            )
        )
        self._service = service
        self._grace_sec = grace_sec
        self._draining: asyncio.Task[None] | None = None
        self.signal: int | None = None
        """The signal that ended the server; None if it was ended otherwise."""

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Begins to end the server; a second signal ends it at once."""
        if self.signal is not None:
            self.should_exit = self.force_exit = True
            self.config.timeout_graceful_shutdown = 0  # since Python 3.12, even then open connections are waited for
        self.signal = sig

    async def on_tick(self, counter: int) -> bool:
        """Returns whether to end."""
        if self._service.load_error is not None:
            return True
        if self.signal is not None and self._draining is None:
            self._draining = asyncio.create_task(self._service.drain(self._grace_sec))
        if self._draining is not None and self._draining.done():
            return True
        return await super().on_tick(counter)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accepts no connection any more, answers those that were accepted, and closes them."""
        if not self.force_exit:
            for listening in self.servers:
                listening.close()
            await asyncio.sleep(_LAST_SEC)
        await super().shutdown(sockets)


def serve(server: Server, service: CountingService, listener: socket.socket) -> None:
    """Answers requests until a signal ends the server.

    Raises:
      Exception: Why the model could not be loaded.
      KeyboardInterrupt: Ctrl-C has ended the server.
    """
    _allow_files()
    server.run(sockets=[listener])
    if service.load_error is not None:
        raise service.load_error
    is_interrupted = server.signal == signal.SIGINT
    if server.force_exit or not service.has_ended:  # a model that loads, or a count that hangs, would keep this process alive
        if is_interrupted:
            print("repcount serve: interrupted", file=sys.stderr)
        sys.stderr.flush()
        os._exit(128 + server.signal if server.signal and (server.force_exit or is_interrupted) else 0)
    if is_interrupted:
        raise KeyboardInterrupt


def _allow_files() -> None:
    """Raises the number of files that this process may have open, as far as the system lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MAX_FILES if hard == resource.RLIM_INFINITY else min(_MAX_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
