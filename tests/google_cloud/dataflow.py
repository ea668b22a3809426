"""A stand-in for Dataflow's REST service: it accepts jobs, reports them as done, and runs none."""

import contextlib
import http.server
import json
import threading
import urllib.parse


class Dataflow:
    """The service on loopback.

    Attributes:
      endpoint: URL for `--dataflow_endpoint`. Beam accepts a URL without TLS only if it contains "localhost".
      jobs: Descriptions of the submitted jobs.
      state: State of every submitted job.
      states: States of a job at the first requests for it; then it has `state`.
      counters: Values of a job's counters in our namespace, by name.
      metrics_status: HTTP status of requests for metrics.
      refusal: HTTP status and reason with which a job is refused; None if it is accepted.
      active: Descriptions of the jobs that a request for active jobs lists.
      page_size: Number of active jobs in one response.
    """

    def __init__(self, state="JOB_STATE_DONE"):
        self.jobs = []
        self.state = state
        self.states = []
        self.counters = {}
        self.metrics_status = 200
        self.refusal = None
        self.active = []
        self.page_size = 100
        self._server = http.server.ThreadingHTTPServer(("localhost", 0), self._handler())
        self._server.daemon_threads = True
        self.endpoint = f"http://localhost:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()

    def close(self):
        self._server.shutdown()
        self._server.server_close()

    def _job(self, state):
        job = self.jobs[-1]
        return {
            "id": "2026-01-01_00_00_00-1",
            "projectId": "p",
            "location": "l",
            "name": job["name"],
            "type": job["type"],
            "clientRequestId": job.get("clientRequestId", ""),
            "currentState": state,
            "createTime": "2026-01-01T00:00:00Z",
        }

    def _metrics(self):
        """Returns each counter twice, as the service does: of work under way, and of work that is done."""
        return [
            {
                "name": {
                    "origin": "user",
                    "name": name,
                    "context": {"namespace": "repcount", "step": "s1", **({"tentative": "true"} if is_tentative else {})},
                },
                "scalar": value if is_tentative else 0,
                "updateTime": "2026-01-01T00:00:00Z",
            }
            for name, value in self.counters.items()
            for is_tentative in (True, False)
        ]

    def _page(self, query):
        """Returns the active jobs from the one that the page token names."""
        start = int(query.get("pageToken", ["0"])[0])
        end = start + self.page_size
        page = {"jobs": self.active[start:end]}
        return {**page, "nextPageToken": str(end)} if end < len(self.active) else page

    def _handler(self):
        dataflow = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if dataflow.refusal:
                    status, reason = dataflow.refusal
                    self.answer({"error": {"code": status, "message": reason, "status": "PERMISSION_DENIED"}}, status)
                elif urllib.parse.urlsplit(self.path).path.endswith("/jobs"):
                    dataflow.jobs.append(json.loads(body))
                    self.answer(dataflow._job("JOB_STATE_PENDING"))
                else:
                    self.answer({})

            def do_GET(self):
                url = urllib.parse.urlsplit(self.path)
                path = url.path
                if path.endswith("/messages"):
                    self.answer({"jobMessages": []})
                elif path.endswith("/metrics"):
                    self.answer({"metrics": dataflow._metrics()}, dataflow.metrics_status)
                elif "/jobs/" in path:
                    state = dataflow.states.pop(0) if dataflow.states else dataflow.state
                    self.answer(dataflow._job(state))
                else:
                    self.answer(dataflow._page(urllib.parse.parse_qs(url.query)))

            def answer(self, content, status=200):
                body = json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *args):
                """Keeps the test's output clean."""

        return Handler
