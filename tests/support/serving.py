"""The real HTTP service on loopback: in a thread of the test with a fake model, or as a process of its own."""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import requests

from pipeline.serve.allowed import AllowedPlaces
from pipeline.serve.app import make_app
from pipeline.serve.config import ServeConfig
from pipeline.serve.server import Server
from pipeline.serve.service import CountingService
from pipeline.web import open_socket
from tests.support.runs import ROOT
from tests.support.scorers import FAKE_COUNTER

TIMEOUT_SEC = 300


class Served:
    """A service that answers on loopback until it is closed; a context manager."""

    def __init__(self, base=None, *, allow=(), counter=FAKE_COUNTER, load=None, open_keeper=None, is_awaited=True, **changes):
        """Starts a service.

        Args:
          base: Folder that names start from.
          allow: Other folders that may be read.
          counter: Model that counts.
          load: Function that loads the model instead.
          open_keeper: Opens the tables.
          is_awaited: Whether to wait until it is ready.
          **changes: Fields of `ServeConfig`.
        """
        places = AllowedPlaces.parse([str(place) for place in allow], base and str(base))
        self.config = ServeConfig(places, port=0, **changes)
        self.service = CountingService(
            load or (lambda: counter),
            open_keeper=open_keeper,
            max_queue=self.config.max_queue,
            deadline_sec=self.config.deadline_sec,
        )
        listener = open_socket("127.0.0.1", 0)
        self.port = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.app = make_app(self.service, self.config)
        self.server = Server(self.app, self.service, self.config.grace_sec)
        self.thread = threading.Thread(target=self.server.run, kwargs={"sockets": [listener]}, daemon=True)
        self.thread.start()
        if is_awaited:
            wait_until(lambda: self.service.is_ready)

    def get(self, path, **options):
        return requests.get(f"{self.url}{path}", timeout=TIMEOUT_SEC, **options)

    def post(self, path, **options):
        return requests.post(f"{self.url}{path}", timeout=TIMEOUT_SEC, **options)

    def raw(self, path, headers=None, method="GET", body=None):
        """Sends a path exactly as it is written; returns the status and the JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=TIMEOUT_SEC)
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        content = response.read()
        connection.close()
        return response.status, json.loads(content)

    def close(self):
        self.server.should_exit = True
        self.thread.join(TIMEOUT_SEC)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.close()


def wait_until(is_so, timeout_sec=TIMEOUT_SEC):
    """Waits until a function returns true."""
    end = time.monotonic() + timeout_sec
    while not is_so():
        assert time.monotonic() < end, "this took too long"
        time.sleep(0.01)


class ServerProcess:
    """`repcount serve` as a process of its own; a context manager.

    Attributes:
      process: The process.
      url: Address that it listens on.
    """

    def __init__(self, *words, module="pipeline", before=(), environment=None):
        """Starts the process; returns when it listens.

        Args:
          *words: Options of `repcount serve`.
          module: Module to run.
          before: Words before the options.
          environment: Environment variables to add.
        """
        before = ["serve"] if module == "pipeline" else before
        command = [sys.executable, "-m", module, *map(str, [*before, "--port", "0", *words])]
        environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self.process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True)
        line = self.process.stderr.readline()
        found = re.search(r"listens on (http://\S+?)\. ", line)
        assert found, line + self.process.stderr.read()
        self.url = found[1]
        self.errors = [line]
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        self.errors.extend(self.process.stderr)

    def wait_ready(self):
        """Waits until the model is warm."""
        wait_until(lambda: requests.get(f"{self.url}/health", timeout=TIMEOUT_SEC).status_code == 200)

    def end(self, sig=signal.SIGTERM):
        """Ends the process with a signal; returns its exit code."""
        self.process.send_signal(sig)
        return self.process.wait(TIMEOUT_SEC)

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self.process.kill()
        self.process.wait()
