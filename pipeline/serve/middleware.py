"""What happens to every request: who may ask, and what a client that goes away leaves behind."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Collection

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pipeline.serve.answers import error_response
from pipeline.serve.config import ServeConfig, is_loopback
from pipeline.serve.errors import DrainingError, ForbiddenPlaceError, RequestError
from pipeline.serve.service import CountingService


class Guard:
    """Refuses requests without the token. Without one, on loopback, it refuses what other web sites have a browser ask for."""

    def __init__(self, app: ASGIApp, config: ServeConfig, public: Collection[str]) -> None:
        self._app = app
        self._token = None if config.token is None else config.token.encode("ascii")
        self._is_open = config.allow_unauthenticated and not config.is_loopback
        self._public = frozenset(public)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        refusal = self._refusal(scope) if scope["type"] == "http" else None
        if refusal is None:
            await self._app(scope, receive, send)
        else:
            response = error_response(refusal)
            if refusal.status == 401:
                response.headers["www-authenticate"] = "Bearer"
            await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> RequestError | None:
        headers = Headers(scope=scope)
        if self._token is not None:
            is_public = scope["method"] in ("GET", "HEAD") and scope["path"] in self._public
            if is_public or self._is_token(headers.get("authorization", "")):
                return None
            return RequestError(401, "UNAUTHENTICATED", "the header must be: Authorization: Bearer TOKEN")
        if self._is_open:  # the platform in front of this server authenticates
            return None
        if not is_loopback(_host_name(headers.get("host", ""))):
            return ForbiddenPlaceError("the host must be localhost or 127.0.0.1")
        origin, host = headers.get("origin"), headers.get("host")
        is_foreign = origin is not None and origin not in (f"http://{host}", f"https://{host}")
        if is_foreign or headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
            return ForbiddenPlaceError("another web site may not ask this server")
        return None

    def _is_token(self, header: str) -> bool:
        scheme, _, given = header.partition(" ")
        given_bytes = given.strip().encode("latin-1", "replace")
        return self._token is not None and scheme.lower() == "bearer" and hmac.compare_digest(given_bytes, self._token)


class Connections:
    """Cancels what a request does when its client goes away, and closes connections when the server is about to end.

    Starlette alone would go on, and count for nobody.
    """

    def __init__(self, app: ASGIApp, service: CountingService) -> None:
        self._app = app
        self._service = service

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        is_gone = has_begun = False

        async def send_last(message: Message) -> None:
            nonlocal has_begun
            has_begun = True
            if message["type"] == "http.response.start" and self._service.is_draining:
                MutableHeaders(scope=message)["connection"] = "close"
            await send(message)

        messages: asyncio.Queue[Message] = asyncio.Queue(1)  # so that no upload waits in memory
        work = asyncio.ensure_future(self._app(scope, messages.get, send_last))

        async def listen() -> None:
            nonlocal is_gone
            while not is_gone:
                message = await receive()
                if message["type"] == "http.disconnect":
                    is_gone = True
                    work.cancel()
                else:
                    await messages.put(message)

        listener = asyncio.ensure_future(listen())
        try:
            await work
        except asyncio.CancelledError:
            if is_gone:
                return
            if has_begun or not self._service.is_draining:
                raise
            # The server ends, and this request has not arrived in full.
            await error_response(DrainingError())(scope, receive, send_last)
        finally:
            listener.cancel()


def _host_name(host: str) -> str:
    """Returns the name or address in the header Host, without its port."""
    return host.partition("]")[0] + "]" if host.startswith("[") else host.partition(":")[0].lower().rstrip(".")
