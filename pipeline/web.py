"""What the web servers of `repcount view` and `repcount serve` share: a socket that listens, and headers of responses."""

from __future__ import annotations

import socket
from collections.abc import Mapping

from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.command_line import UsageError

_BACKLOG = 2048
"""Connections that wait until they are accepted."""


def open_socket(host: str, port: int) -> socket.socket:
    """Returns a socket that listens.

    Args:
      host: Name or address of this machine; "" for all of its addresses.
      port: Port number; 0 for any free one.

    Raises:
      UsageError: The port is taken, not allowed or no port, or the host is not this machine's.
    """
    try:
        found = socket.getaddrinfo(host or None, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except OSError as error:
        raise UsageError(f"--host must be an address of this machine: {error.strerror}. Received: {host}") from error
    family = socket.AF_INET if any(one[0] == socket.AF_INET for one in found) else socket.AF_INET6
    try:
        return socket.create_server((host, port), family=family, backlog=_BACKLOG)
    except (OSError, OverflowError) as error:
        why = error.strerror if isinstance(error, OSError) else "ports go up to 65535"
        raise UsageError(f"--port must be free, such as 0 for any free one: {why}. Received: {port}") from error


class SafeHeaders:
    """Adds headers to every response that has no others of these names, such as those that keep other sites from a page."""

    def __init__(self, app: ASGIApp, headers: Mapping[str, str]) -> None:
        self._app = app
        self._headers = headers

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in self._headers.items():
                    headers.setdefault(name, value)
            await send(message)

        await self._app(scope, receive, send_with_headers)
