"""A proxy on loopback in front of a server. It records requests, and a test can make it fail, delay or drop them."""

import contextlib
import dataclasses
import http.client
import http.server
import json
import re
import socket
import struct
import sys
import threading
import urllib.parse
from collections.abc import Callable

_HOP_HEADERS = {"transfer-encoding", "content-length", "connection", "accept-encoding"}


@dataclasses.dataclass(frozen=True)
class Request:
    """A client's request.

    Attributes:
      method: HTTP method in upper case.
      path: Path with the query.
      body: Bytes of the body; b"" if there is none.
    """

    method: str
    path: str
    body: bytes


@dataclasses.dataclass(frozen=True)
class Response:
    """The response to a client.

    Attributes:
      status: HTTP status.
      headers: Names and values, without the length.
      body: Bytes of the body.
      cut_at: Number of bytes of the body after which the connection is reset; None sends them all.
    """

    status: int
    headers: list[tuple[str, str]]
    body: bytes
    cut_at: int | None = None

    @classmethod
    def error(cls, status, reason, message):
        """Returns an error in the format of Google's services."""
        detail = {"reason": reason, "message": message, "domain": "global"}
        return cls.json({"error": {"code": status, "message": message, "errors": [detail]}}, status)

    @classmethod
    def json(cls, content, status=200):
        return cls(status, [("Content-Type", "application/json")], json.dumps(content).encode())


class Pause:
    """Holds the first matching request until it is released.

    Attributes:
      reached: Event that is set once the request is held.
      is_taken: Whether a request has matched.
    """

    def __init__(self, matches, after):
        self.matches = matches
        self.after = after
        self.reached = threading.Event()
        self.is_taken = False
        self._released = threading.Event()
        self._forward = True

    def release(self, *, forward=True):
        """Lets the request continue, or drops it if `forward` is False. Only the first call has an effect."""
        if not self._released.is_set():
            self._forward = forward
        self._released.set()

    def hold(self):
        """Waits for the release; returns whether to continue."""
        self.reached.set()
        return self._released.wait(600) and self._forward


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        """Keeps silent about clients that are gone, such as killed runs."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class Proxy:
    """A proxy that forwards to `upstream`, a "host:port".

    Attributes:
      url: URL of the proxy.
      requests: Requests since the last `clear`.
      intercept: Called with each request and a function that answers one. Returns the response, or None to drop the
        connection. None for no interception.
    """

    def __init__(self, upstream):
        self.upstream = upstream
        self.requests = []
        self.intercept = None
        self._faults = []
        self._pauses = []
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def clear(self):
        """Removes all rules and recorded requests, and drops held ones, so that no test affects the next."""
        self.intercept = None
        with self._lock:
            for pause in self._pauses:
                pause.release(forward=False)
            self.requests, self._faults, self._pauses = [], [], []

    def fail(self, matches, *, status=503, reason="backendError", message="as the test wishes", times=1, reset=False):
        """Answers the next `times` matching requests with an error, or with `reset` drops their connections."""
        fault = {"matches": matches, "status": status, "reason": reason, "message": message, "times": times, "reset": reset}
        self._faults.append(fault)

    def spoil(self, matches, *, status=503, reason="backendError", times=1):
        """Forwards the next `times` matching requests and answers them with an error instead of the response."""
        self.fail(matches, status=status, reason=reason, times=times)
        self._faults[-1]["after"] = True

    def pause(self, matches, *, after=False):
        """Holds the next matching request before it is forwarded or, with `after`, its response."""
        pause = Pause(matches, after)
        self._pauses.append(pause)
        return pause

    def answer(self, request, headers):
        """Returns the upstream's response. Subclasses correct it."""
        return self.forward(request.method, request.path, request.body, headers)

    def forward(self, method, path, body=b"", headers=()):
        """Sends a request to the upstream and returns its response."""
        connection = http.client.HTTPConnection(self.upstream, timeout=600)
        kept = {name: value for name, value in dict(headers).items() if name.lower() not in _HOP_HEADERS}
        connection.request(method, path, body, {**kept, "Content-Length": str(len(body))})
        response = connection.getresponse()
        kept = [(name, value) for name, value in response.getheaders() if name.lower() not in _HOP_HEADERS]
        return Response(response.status, kept, response.read())

    def _fault(self, request, after=False):
        """Returns the rule that makes a request fail before it is forwarded, or after that; None if there is none."""
        with self._lock:
            for fault in self._faults:
                if fault["times"] and fault.get("after", False) == after and fault["matches"](request):
                    fault["times"] -= 1
                    return fault
        return None

    def _pause(self, request, after):
        with self._lock:
            for pause in self._pauses:
                if pause.after == after and not pause.is_taken and pause.matches(request):
                    pause.is_taken = True
                    return pause
        return None

    def _handle(self, request, headers):
        """Returns the response, or None to drop the connection."""
        self.requests.append(request)
        intercept = self.intercept
        if intercept is None:
            return self._answer_by_rules(request, headers)
        return intercept(request, lambda changed: self._answer_by_rules(changed, headers))

    def _answer_by_rules(self, request, headers):
        fault = self._fault(request)
        if fault:
            return None if fault["reset"] else Response.error(fault["status"], fault["reason"], fault["message"])
        pause = self._pause(request, after=False)
        if pause and not pause.hold():
            return None
        response = self.answer(request, headers)
        spoiled = self._fault(request, after=True)
        if spoiled:
            return Response.error(spoiled["status"], spoiled["reason"], spoiled["message"])
        pause = self._pause(request, after=True)
        return None if pause and not pause.hold() else response

    def _handler(self):
        proxy = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True  # headers and body are sent separately, with 40 ms between them otherwise

            def handle_any(self):
                response = proxy._handle(Request(self.command, self.path, self.read_body()), self.headers)
                if response is None:
                    self.close_connection = True
                    return
                with contextlib.suppress(ConnectionError):  # the client may have been killed
                    self.send_response(response.status)
                    for name, value in response.headers:
                        self.send_header(name, value)
                    self.send_header("Content-Length", str(len(response.body)))
                    self.end_headers()
                    if self.command != "HEAD":
                        self.wfile.write(response.body[: response.cut_at])
                if response.cut_at is not None:
                    self.reset()

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do_HEAD = handle_any  # noqa: N815

            def reset(self):
                """Closes the connection as when a machine fails: what is still to be sent is lost."""
                self.close_connection = True
                with contextlib.suppress(OSError):
                    self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    self.rfile.close()
                    self.connection.close()

            def read_body(self):
                if "chunked" not in self.headers.get("Transfer-Encoding", "").lower():
                    return self.rfile.read(int(self.headers.get("Content-Length") or 0))
                body = b""
                while size := int(self.rfile.readline().split(b";")[0], 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, *args):
                """Keeps the test's output clean."""

        return Handler


class StorageProxy(Proxy):
    """Corrects where the Cloud Storage emulator differs from the service: a complete upload stays known.

    A client that did not get the answer to the last part of a resumable upload sends that part again.
    """

    def __init__(self, upstream):
        super().__init__(upstream)
        self._complete_uploads = {}

    def answer(self, request, headers):
        response = super().answer(request, headers)
        query = urllib.parse.parse_qs(urllib.parse.urlsplit(request.path).query)
        if request.method == "PUT" and "upload_id" in query:
            (upload,) = query["upload_id"]
            with self._lock:
                if response.status == 200:
                    self._complete_uploads[upload] = response
                elif response.status == 404:
                    return self._complete_uploads.get(upload, response)
        return response


@dataclasses.dataclass
class SideBySide:
    """MERGEs to run side by side.

    Attributes:
      matches: Filter of the requests that start them.
      barrier: Where each of them waits for the others.
      left: Number of MERGEs still to come.
    """

    matches: Callable[[Request], bool]
    barrier: threading.Barrier
    left: int


class BigQueryProxy(Proxy):
    """Corrects where the BigQuery emulator differs from the service.

    - A job ID can be used once. A second job with it gets a 409.
    - A view has its query.
    - A test can let MERGEs run side by side, which the emulator runs one after the other.
    """

    def __init__(self, upstream):
        super().__init__(upstream)
        self._job_ids = set()
        self._views = {}
        self._side_by_side = []

    def clear(self):
        super().clear()
        self._side_by_side = []

    def merge_side_by_side(self, matches, runs=2, *, timeout_sec=600):
        """Lets the next `runs` matching MERGEs run side by side, each on the table as it was before all of them.

        Each statement waits until all have arrived, then until all have ended. The table must lack the keys that they merge, so
        that they only insert: BigQuery runs statements that update or delete rows one after the other.
        """
        self._side_by_side.append(SideBySide(matches, threading.Barrier(runs, timeout=timeout_sec), runs))

    def forward(self, method, path, body=b"", headers=()):
        with self._lock:
            request = Request(method, path, body)
            found = next((rule for rule in self._side_by_side if rule.left and rule.matches(request)), None)
            if found:
                found.left -= 1
        if not found:
            return super().forward(method, path, body, headers)
        job = json.loads(body)
        query = job["configuration"]["query"]
        # On a table without these keys, the condition of the MERGE is false for every row.
        query["query"] = query["query"].replace("\nON ", "\nON FALSE AND ", 1)
        found.barrier.wait()
        response = super().forward(method, path, json.dumps(job).encode(), headers)
        found.barrier.wait()
        return response

    def answer(self, request, headers):
        path = urllib.parse.urlsplit(request.path).path
        if request.method == "POST" and path.endswith("/jobs") and "uploadType" not in request.path:
            job = json.loads(request.body)
            job_id = job.get("jobReference", {}).get("jobId")
            if job_id and not job["configuration"].get("dryRun"):
                with self._lock:
                    is_known = job_id in self._job_ids
                    self._job_ids.add(job_id)
                if is_known:
                    return Response.error(409, "duplicate", f"Already Exists: Job {job_id}")
        response = super().answer(request, headers)
        table = re.search(r"/datasets/[^/]+/tables(/[^/]+)?$", path)
        if table and response.status == 200 and request.method in ("POST", "PUT", "PATCH", "GET"):
            return self._with_view(path, request, response)
        return response

    def _with_view(self, path, request, response):
        content = json.loads(response.body)
        if "tableReference" not in content:
            return response
        name = f"{path.split('/tables')[0]}/tables/{content['tableReference']['tableId']}"
        if request.method != "GET":
            view = json.loads(request.body or b"{}").get("view")
            if view:
                self._views[name] = view
        if content.get("type") == "VIEW" and name in self._views:
            content["view"] = self._views[name]
            return Response.json(content)
        return response
