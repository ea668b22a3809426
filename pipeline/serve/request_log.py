"""A line of JSON for every request and every log message, with the field names that Cloud Logging knows.

A line has no body, no query, no name of a video and no header but the request's id: these may be secrets.
"""

from __future__ import annotations

import contextvars
import dataclasses
import datetime
import json
import logging
import os
import re
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

ID_HEADER = "x-request-id"
"""Header with a request's id, of the request and of the response."""

CLIENT_GONE = 499
"""Status in logs and metrics of a request whose client went away before its response began."""

OTHER_ROUTE = "other"
"""Route of a request that matches none, whose path may be anything."""

_PLAIN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

_TRACES = {
    "traceparent": re.compile(r"[0-9a-f]{2}-([0-9a-f]{32})-[0-9a-f]{16}-[0-9a-f]{2}.*"),
    "x-cloud-trace-context": re.compile(r"([0-9a-f]{32})(?:/.*)?"),
}
"""Headers with the id of a trace, and where it is in them."""

_METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")

_LOGGER = logging.getLogger("repcount.requests")

_request_id: contextvars.ContextVar[str] = contextvars.ContextVar("request_id", default="")


@dataclasses.dataclass(frozen=True)
class RequestFacts:
    """A request that was answered.

    Attributes:
      request_id: Id of the request.
      method: HTTP method; "OTHER" for one that is none.
      route: Path of the route as it was defined, or `OTHER_ROUTE`.
      status: HTTP status, or `CLIENT_GONE`.
      duration_sec: Seconds until the last byte of the response was handed over.
      trace: Id of the trace that the platform began; "" for none.
    """

    request_id: str
    method: str
    route: str
    status: int
    duration_sec: float
    trace: str = ""


class RequestObserver:
    """Gives each request an id, which its response names, and tells listeners how it ended."""

    def __init__(self, app: ASGIApp, listeners: Sequence[Callable[[RequestFacts], None]]) -> None:
        self._app = app
        self._listeners = listeners

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers a request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers, started_sec = Headers(scope=scope), time.monotonic()
        given = headers.get(ID_HEADER, "")
        request_id = given if _PLAIN_ID.fullmatch(given) else uuid.uuid4().hex
        _request_id.set(request_id)  # not reset, so that the handler of errors outside of this one has it, too
        status = CLIENT_GONE

        async def send_with_id(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                MutableHeaders(scope=message)[ID_HEADER] = request_id
            await send(message)

        try:
            await self._app(scope, receive, send_with_id)
        except Exception:
            status = 500  # the handler of errors outside answers it
            raise
        finally:
            method = scope["method"] if scope["method"] in _METHODS else "OTHER"
            route = getattr(scope.get("route"), "path", OTHER_ROUTE)
            facts = RequestFacts(request_id, method, route, status, time.monotonic() - started_sec, _find_trace(headers))
            for listener in self._listeners:
                listener(facts)


def current_request_id() -> str:
    """Returns the id of the request that this code works for; "" if it works for none."""
    return _request_id.get()


def log_request(facts: RequestFacts) -> None:
    """Writes the line of a request."""
    severity = logging.INFO
    if facts.status >= 500 and facts.status != 503:
        severity = logging.ERROR
    elif facts.status in (408, 429, 503):
        severity = logging.WARNING
    elif facts.method == "GET" and facts.status == 200 and not facts.route.startswith("/count"):
        severity = logging.DEBUG  # probes and metrics, every few seconds
    _LOGGER.log(severity, "%s %s %d", facts.method, facts.route, facts.status, extra={"request": facts})


class JsonFormatter(logging.Formatter):
    """Formats log messages as JSON, one line each, which Cloud Logging reads as structured entries."""

    def format(self, record: logging.LogRecord) -> str:
        """Returns a message as a line."""
        written = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        entry: dict[str, Any] = {
            "time": written.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "severity": record.levelname,
            "message": record.getMessage(),
            "logger": record.name,
        }
        facts = getattr(record, "request", None)
        request_id = current_request_id()
        if isinstance(facts, RequestFacts):
            request_id = facts.request_id
            entry |= {
                "route": facts.route,
                "duration_sec": round(facts.duration_sec, 6),
                "httpRequest": {
                    "requestMethod": facts.method,
                    "status": facts.status,
                    "latency": f"{facts.duration_sec:.6f}s",
                },
            }
            project = os.environ.get("GOOGLE_CLOUD_PROJECT")
            if facts.trace and project:
                entry["logging.googleapis.com/trace"] = f"projects/{project}/traces/{facts.trace}"
        if request_id:
            entry["request_id"] = request_id
        if record.exc_info:
            entry["stack_trace"] = self.formatException(record.exc_info)
        return json.dumps(entry)


def set_up_json_logging(quiet: bool = False) -> None:
    """Makes log messages lines of JSON, and logs requests: with `quiet`, only those that failed by the server's fault."""
    for handler in logging.getLogger().handlers:
        if type(handler) is logging.StreamHandler:  # and none that somebody else has added
            handler.setFormatter(JsonFormatter())
    _LOGGER.setLevel(logging.ERROR if quiet else logging.INFO)


def _find_trace(headers: Headers) -> str:
    for name, pattern in _TRACES.items():
        found = pattern.fullmatch(headers.get(name, ""))
        if found:
            return found[1]
    return ""
