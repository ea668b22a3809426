"""A server ends with the process that started it, and a server that does not start says why."""

import os
import signal
import subprocess
import sys
import time

import pytest

from tests.google_cloud import servers

STARTED = """
import os, sys, time
from pathlib import Path
from tests.google_cloud import servers
port = servers._free_port()
command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
with servers._running(command, port, Path(sys.argv[1]) / "log", dict(os.environ)):
    print(port, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_server_ends_with_its_starter(tmp_path, number):
    command = [sys.executable, "-c", STARTED, str(tmp_path)]
    folder = servers.ENVIRONMENT.parent
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as starter:
        port = int(starter.stdout.readline())
        assert servers._answers(port)
        starter.send_signal(number)
    while servers._answers(port):
        time.sleep(0.05)


def test_a_server_that_does_not_start_says_why(tmp_path):
    command = [sys.executable, "-c", "raise SystemExit('no such disk')"]
    with (
        pytest.raises(RuntimeError, match=r"did not start(?s:.*)no such disk"),
        servers._running(command, servers._free_port(), tmp_path / "log", dict(os.environ)),
    ):
        pass
