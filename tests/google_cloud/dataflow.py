"""A Dataflow that takes jobs, says that they are done, and runs none."""

import contextlib
import http.server
import json
import threading
import urllib.parse


class Dataflow:
    """The service's REST endpoint on loopback.

    Attributes:
      endpoint: for `--dataflow_endpoint`; Beam takes one without TLS if its name has "localhost" in it.
      jobs: descriptions of the jobs that were posted.
      state: what becomes of them.
      active: what it says when it is asked which jobs are active.
    """

    def __init__(self, state="JOB_STATE_DONE"):
        self.jobs = []
        self.state = state
        self.active = []
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

    def _handler(self):
        dataflow = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                if urllib.parse.urlsplit(self.path).path.endswith("/jobs"):
                    dataflow.jobs.append(json.loads(body))
                    self.answer(dataflow._job("JOB_STATE_PENDING"))
                else:
                    self.answer({})

            def do_GET(self):
                path = urllib.parse.urlsplit(self.path).path
                if path.endswith("/messages"):
                    self.answer({"jobMessages": []})
                elif path.endswith("/metrics"):
                    self.answer({"metrics": []})
                elif "/jobs/" in path:
                    self.answer(dataflow._job(dataflow.state))
                else:
                    self.answer({"jobs": dataflow.active})

            def answer(self, content):
                body = json.dumps(content).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                with contextlib.suppress(ConnectionError):
                    self.wfile.write(body)

            def log_message(self, *args):
                """Keeps the test's output clean."""

        return Handler
