"""Prometheus reads what the server counts: requests, answers, seconds of video, the queue and the tables."""

import socket

import pytest
from prometheus_client.parser import text_string_to_metric_families

from pipeline.serve.store import AnswerStore
from tests.support.serving import TIMEOUT_SEC, Served, wait_until
from tests.support.videos import draw_video
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


@pytest.fixture
def served(tmp_path):
    draw_video(tmp_path / "squats.mp4", 100)
    (tmp_path / "bad.mp4").write_text("no video")

    def open_store(counter):
        store = AnswerStore(DuckDBWarehouse(str(tmp_path / "counts.duckdb")), counter, commit_sec=3600)
        store.start()
        return store

    with Served(tmp_path, open_keeper=open_store) as served:
        yield served


def read(served):
    """Returns the figures: {(name, *values of labels in this order): value}."""
    labels = ("route", "method", "status", "result", "source")
    response = served.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(response.text)
    return {
        (sample.name, *(sample.labels[label] for label in labels if label in sample.labels)): sample.value
        for family in families
        for sample in family.samples
    }


def test_requests_answers_and_seconds_of_video_are_counted(served):
    for name in ("squats.mp4", "squats.mp4", "bad.mp4", "none.mp4"):
        served.get("/count", params={"name": name})
    served.get("/no/such/path")
    wait_until(lambda: ("repcount_requests_total", "other", "GET", "404") in read(served))
    figures = read(served)
    assert figures["repcount_requests_total", "/count", "GET", "200"] == 2
    assert figures["repcount_requests_total", "/count", "GET", "422"] == 1
    assert figures["repcount_requests_total", "/count", "GET", "404"] == 1
    assert figures["repcount_request_duration_seconds_count", "/count"] == 4
    assert figures["repcount_answers_total", "COUNTED", "counted"] == 1
    assert figures["repcount_answers_total", "COUNTED", "tables"] == 1
    assert figures["repcount_answers_total", "NOT_A_VIDEO", "counted"] == 1
    assert figures["repcount_video_seconds_total",] == pytest.approx(100 / 30)
    assert (figures["repcount_ready",], figures["repcount_queue_videos",], figures["repcount_counting_videos",]) == (1, 0, 0)
    assert (figures["repcount_tables_found_total",], figures["repcount_tables_missed_total",]) == (1, 2)
    assert figures["repcount_tables_waiting_answers",] == 2
    assert figures["process_resident_memory_bytes",] > 0


def test_a_client_that_goes_away_is_counted_apart(served):
    with socket.create_connection(("127.0.0.1", served.port), TIMEOUT_SEC) as connection:
        head = "POST /count HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{"
        connection.sendall(head.encode())
    wait_until(lambda: ("repcount_requests_total", "/count", "POST", "499") in read(served))


def test_no_client_can_make_the_figures_many(served):
    for number in range(5):
        served.get(f"/{number}")
        served.raw("/count", method=f"METHOD{number}")
    wait_until(lambda: read(served).get(("repcount_requests_total", "/count", "OTHER", "405"), 0) == 5)
    names = [key for key in read(served) if key[0] == "repcount_requests_total" and key[1] != "/metrics"]
    assert sorted(names) == [
        ("repcount_requests_total", "/count", "OTHER", "405"),
        ("repcount_requests_total", "other", "GET", "404"),
    ]


def test_two_servers_have_figures_of_their_own(served):
    with Served() as other:
        served.get("/count?name=none.mp4")
        assert ("repcount_requests_total", "/count", "GET", "404") not in read(other)
        assert not [key for key in read(other) if key[0].startswith("repcount_tables")]
