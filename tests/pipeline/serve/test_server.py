"""A signal ends the server, and no request is lost: what was taken is answered, and nothing new is taken."""

import functools
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from tests.support.serving import ServerProcess, wait_until
from tests.support.videos import draw_video

NUM_VIDEOS = 5


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    for number in range(NUM_VIDEOS):
        draw_video(folder / f"{number}.mp4", 100)
    return folder


def slow_server(*words, chunk_sec):
    return ServerProcess(*words, module="tests.support.slow_server", before=[str(chunk_sec)])


def ask(server, number):
    """Returns the status and the JSON of a request."""
    response = requests.get(f"{server.url}/count", params={"name": f"{number}.mp4"}, timeout=60)
    return response.status_code, response.json()


def is_closed(server):
    """Returns whether a server answers that it takes nothing."""
    return requests.get(f"{server.url}/health", timeout=60).status_code == 503


@pytest.mark.slow
def test_under_load_every_request_gets_an_answer_after_sigterm(folder):
    with slow_server("--base", folder, "--max_queue", 2, chunk_sec=1) as server, ThreadPoolExecutor(2 * NUM_VIDEOS) as pool:
        server.wait_ready()
        asked = [pool.submit(ask, server, number) for number in range(NUM_VIDEOS)]
        wait_until(lambda: any(request.done() for request in asked))  # one of those beyond the queue
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: is_closed(server))
        late = [pool.submit(ask, server, number) for number in range(NUM_VIDEOS)]
        answers = [request.result() for request in asked]
        refused = [request.result() for request in late]
        assert server.process.wait(60) == 0
    assert {status for status, _ in answers} == {200, 429}
    assert all(body["count"] == pytest.approx(5.0) for status, body in answers if status == 200)
    assert [(status, body["error"]["code"]) for status, body in refused] == [(503, "DRAINING")] * NUM_VIDEOS
    assert not [line for line in server.errors if "ERROR" in line or "Traceback" in line]


@pytest.mark.slow
def test_what_takes_longer_than_the_grace_is_answered_and_the_server_ends(folder):
    with slow_server("--base", folder, "--grace_sec", 0.2, chunk_sec=2) as server, ThreadPoolExecutor(2) as pool:
        server.wait_ready()
        asked = [pool.submit(ask, server, number) for number in range(2)]
        time.sleep(0.5)
        assert server.end() == 0
        answers = [request.result() for request in asked]
    assert [(status, body["error"]["code"]) for status, body in answers] == [(503, "DRAINING")] * 2


@pytest.mark.slow
@pytest.mark.parametrize(("sig", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_second_signal_ends_the_server_at_once(folder, sig, code):
    with slow_server("--base", folder, chunk_sec=5) as server, ThreadPoolExecutor(1) as pool:
        server.wait_ready()
        pool.submit(ask, server, 0)
        time.sleep(0.5)
        server.process.send_signal(sig)
        wait_until(lambda: is_closed(server))
        assert server.end(sig) == code


@pytest.mark.slow
@pytest.mark.parametrize(("sig", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 130)])
def test_a_server_that_still_loads_its_model_ends_at_a_signal(folder, sig, code):
    with slow_server("--base", folder, chunk_sec=60) as server:
        wait_until(lambda: is_closed(server))
        assert server.end(sig) == code


def test_a_server_may_have_more_files_open_than_systems_commonly_allow():
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    code = (
        "import resource; from pipeline.serve import server; server._allow_files(); "
        "print(*resource.getrlimit(resource.RLIMIT_NOFILE))"
    )

    def start_with(soft, hard):
        lower = functools.partial(resource.setrlimit, resource.RLIMIT_NOFILE, (soft, hard))
        command = [sys.executable, "-c", code]
        done = subprocess.run(command, preexec_fn=lower, capture_output=True, text=True, check=True)
        return tuple(map(int, done.stdout.split()))

    assert limits[1] >= 1024 or limits[1] == resource.RLIM_INFINITY
    assert start_with(512, 1024) == (1024, 1024)
    if limits[1] >= 4096 or limits[1] == resource.RLIM_INFINITY:
        assert start_with(512, 4096) == (2048, 4096)
        assert start_with(3000, 4096) == (3000, 4096)


def test_ctrl_c_ends_the_server(folder):
    with slow_server("--base", folder, chunk_sec=0) as server:
        server.wait_ready()
        assert ask(server, 0)[0] == 200
        assert server.end(signal.SIGINT) == 130
        wait_until(lambda: "repcount serve: interrupted\n" in server.errors)
