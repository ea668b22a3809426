"""Strangers, other web sites and clients that have gone get nothing."""

import signal
import socket
import threading

import pytest

from pipeline.serve import server as server_module
from pipeline.serve import service as service_module
from tests.support.samples import make_video_count
from tests.support.serving import Served, wait_until

TOKEN = "a-secret-of-enough-letters"


@pytest.fixture(scope="module")
def guarded(folder):
    with Served(folder, token=TOKEN) as served:
        yield served


PATHS = ["/count?name=a.mp4", "/count", "/openapi.json", "/docs", "/predict", "/none"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(
    "header",
    [
        None,
        "",
        "Bearer",
        "Bearer ",
        f"Basic {TOKEN}",
        f"Bearer {TOKEN[:-1]}",
        f"Bearer {TOKEN}x",
        f"Bearer {TOKEN.upper()}",
        TOKEN,
        "Bearer \xff",
    ],
)
def test_without_the_token_everything_is_refused(guarded, path, header):
    status, body = guarded.raw(path, {} if header is None else {"Authorization": header})
    assert status == 401
    assert body["error"]["code"] == "UNAUTHENTICATED"
    assert TOKEN not in str(body)


def test_with_the_token_a_video_is_counted_whatever_the_host_is_called(guarded):
    headers = {"Authorization": f"Bearer {TOKEN}", "Host": "counts.example.com", "Origin": "https://app.example.com"}
    assert guarded.raw("/count?name=a.mp4", headers)[0] == 200
    response = guarded.get("/count?name=a.mp4")
    assert (response.status_code, response.headers["www-authenticate"]) == (401, "Bearer")


def test_the_health_of_a_server_needs_no_token(guarded):
    assert guarded.raw("/health") == (200, {"status": "ok"})


def test_the_token_in_a_query_is_no_token(guarded):
    assert guarded.raw(f"/count?name=a.mp4&token={TOKEN}")[0] == 401


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:8080", "127.0.0.1.evil.example", "localhost.evil.example", "", "0.0.0.0", "[::2]", "["],
)
def test_another_host_name_is_refused_on_loopback_without_a_token(served, host):
    status, body = served.raw("/count?name=a.mp4", {"Host": host})
    assert (status, body["error"]["code"]) == (403, "FORBIDDEN")


@pytest.mark.parametrize("host", ["localhost", "127.0.0.1", "LOCALHOST", "localhost.", "[::1]", "127.0.0.1:1"])
def test_this_machine_has_several_names(served, host):
    assert served.raw("/health", {"Host": host})[0] == 200


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://127.0.0.1:1"},
        {"Origin": "http://["},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_another_web_site_cannot_have_a_browser_ask_on_loopback(served, headers):
    assert served.raw("/count?name=a.mp4", headers)[0] == 403


def test_a_page_of_the_server_itself_may_ask(served):
    headers = {"Host": "localhost:80", "Origin": "http://localhost:80", "Sec-Fetch-Site": "same-origin"}
    assert served.raw("/count?name=a.mp4", headers)[0] == 200
    assert served.raw("/count?name=a.mp4", {"Sec-Fetch-Site": "none"})[0] == 200


def test_a_request_that_has_not_arrived_when_the_server_ends_is_answered(folder, monkeypatch):
    monkeypatch.setattr(server_module, "_RESPONSE_SEC", 0.2)
    with Served(folder) as served, socket.create_connection(("127.0.0.1", served.port), timeout=30) as client:
        client.sendall(
            b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 99\r\n\r\n{"
        )
        wait_until(lambda: served.server.server_state.tasks)
        served.server.handle_exit(signal.SIGTERM, None)
        answer = b"".join(iter(lambda: client.recv(4096), b""))
        served.thread.join(30)
    assert answer.startswith(b"HTTP/1.1 503 ")
    assert b'"DRAINING"' in answer


def test_a_client_that_closes_its_connection_stops_its_count(folder, monkeypatch):
    begun, stopped, release = threading.Event(), threading.Event(), threading.Event()

    def count_video(video, counter, watch):
        begun.set()
        while not release.wait(0.005):
            try:
                watch(None)
            except Exception:
                stopped.set()
                raise
        return make_video_count(video.uri)

    monkeypatch.setattr(service_module, "count_video", count_video)
    body = b'{"name": "a.mp4"}'
    post = b"POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%b"
    for request in (b"GET /count?name=a.mp4 HTTP/1.1\r\nHost: localhost\r\n\r\n", post % (len(body), body)):
        begun.clear()
        stopped.clear()
        with Served(folder) as served:
            with socket.create_connection(("127.0.0.1", served.port)) as client:
                client.sendall(request)
                assert begun.wait(30)
            assert stopped.wait(30)
            wait_until(lambda served=served: not served.service.is_counting)
            assert served.get("/health").status_code == 200
    release.set()
