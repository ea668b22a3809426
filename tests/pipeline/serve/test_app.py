"""The application has one shape of errors, says whether it is warm, and has headers that keep answers from other sites."""

import threading

import pytest
import requests

from pipeline.serve import service as service_module
from tests.support.scorers import FAKE_COUNTER
from tests.support.serving import TIMEOUT_SEC, Served, wait_until
from transforms.machine_faults import MachineFaultError


@pytest.mark.parametrize("route", ["/health", "/v1/endpoints/1/health"])
def test_health_is_503_until_the_model_is_warm_and_again_when_the_server_ends(folder, route):
    may_load = threading.Event()
    with Served(folder, load=lambda: may_load.wait(30) and FAKE_COUNTER, is_awaited=False, health_route=route) as served:
        response = served.get(route)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "NOT_READY")
        assert served.get("/count?name=a.mp4").status_code == 503
        assert int(response.headers["retry-after"]) > 0
        may_load.set()
        wait_until(lambda: served.service.is_ready)
        assert served.get(route).status_code == 200
        served.service._is_draining = True
        response = served.get(route)
        assert (response.status_code, response.json()["error"]["code"]) == (503, "DRAINING")
        assert response.headers["connection"] == "close"


def test_a_load_balancer_may_ask_with_head(folder):
    may_load = threading.Event()
    with Served(folder, load=lambda: may_load.wait(30) and FAKE_COUNTER, is_awaited=False) as served:
        assert requests.head(f"{served.url}/health", timeout=TIMEOUT_SEC).status_code == 503
        may_load.set()
        wait_until(lambda: served.service.is_ready)
        assert requests.head(f"{served.url}/health", timeout=TIMEOUT_SEC).status_code == 200


@pytest.mark.parametrize("path", ["/", "/docs", "/health", "/metrics", "/openapi.json", "/static/page.css"])
def test_what_only_reads_answers_head_with_the_headers_of_get(served, path):
    response = requests.head(f"{served.url}{path}", timeout=TIMEOUT_SEC)
    assert (response.status_code, response.content) == (200, b"")
    assert response.headers["content-type"] == served.get(path).headers["content-type"]


def test_head_counts_no_video(served):
    assert requests.head(f"{served.url}/count?name=a.mp4", timeout=TIMEOUT_SEC).status_code == 405


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/none", 404, "NOT_FOUND"),
        ("DELETE", "/count", 405, "METHOD_NOT_ALLOWED"),
        ("GET", "/count", 400, "INVALID_REQUEST"),
        ("GET", "/count?name=..%2Fa.mp4", 403, "FORBIDDEN"),
        ("GET", "/count?name=http%3A%2F%2F169.254.169.254%2F", 403, "FORBIDDEN"),
        ("GET", "/count?name=none.mp4", 404, "NOT_FOUND"),
    ],
)
def test_every_error_has_one_shape(served, method, path, status, code):
    found, body = served.raw(path, method=method)
    assert (found, body["error"]["code"]) == (status, code)
    assert set(body) == {"error"}
    assert set(body["error"]) == {"code", "message"}


@pytest.mark.parametrize(
    ("error", "code"), [(MachineFaultError("disk of\nsecret full"), "MACHINE_FAULT"), (ZeroDivisionError("secret"), "INTERNAL")]
)
def test_an_error_of_the_server_is_a_line_without_details(served, monkeypatch, caplog, error, code):
    def fail(video, counter, watch):
        raise error

    monkeypatch.setattr(service_module, "count_video", fail)
    response = served.get("/count?name=a.mp4")
    assert (response.status_code, response.json()["error"]["code"]) == (500, code)
    assert "secret" not in response.text
    wait_until(lambda: "secret" in caplog.text)


@pytest.mark.parametrize("path", ["/health", "/none", "/count?name=a.mp4"])
def test_answers_are_kept_from_other_sites_and_caches(served, path):
    headers = served.get(path).headers
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["cache-control"] == "no-store"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert "access-control-allow-origin" not in headers
    assert "server" not in headers


def test_openapi_describes_the_routes_and_their_errors(served):
    described = served.get("/openapi.json").json()
    assert described["info"]["title"] == "repcount"
    for method in ("get", "post"):
        assert {"200", "400", "403", "404", "422", "429", "503", "504"} <= set(
            described["paths"]["/count"][method]["responses"]
        )
    assert "/health" in described["paths"]
