"""The real HTTP service on loopback, in a thread of the test, with a fake model."""

import http.client
import json
import threading
import time

import requests

from pipeline.serve.allowed import AllowedPlaces
from pipeline.serve.app import make_app
from pipeline.serve.config import ServeConfig
from pipeline.serve.server import Server, open_socket
from pipeline.serve.service import CountingService
from tests.support.scorers import FAKE_COUNTER

TIMEOUT_SEC = 60


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
