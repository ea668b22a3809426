"""The benchmark of the service sees wrong answers and unexpected statuses, and measures both sides of its ratios."""

import os

import pytest

from benchmarks import serving
from tests.support.benchmarks import run_benchmark

RECORD = {"video_uri": "/videos/a.mp4", "count": 3.0, "wall_sec": 0.5}


def reply(*statuses, sec=1.0, **changes):
    return serving.Reply("a.mp4", statuses, 10.0, 10.0 + sec, {**RECORD, "source": "counted", "wall_sec": 0.7, **changes})


def test_an_answer_that_equals_repcount_count_is_right_even_after_429():
    assert serving.find_wrong([reply(200), reply(429, 429, 200)], {"a.mp4": RECORD}, "counted") == []


@pytest.mark.parametrize(
    "wrong", [reply(200, count=4.0), reply(200, source="tables"), reply(500), reply(429, 503, 200), reply(200, more=1)]
)
def test_another_count_source_or_status_is_found(wrong):
    (line,) = serving.find_wrong([wrong], {"a.mp4": RECORD}, "counted")
    assert line.startswith("a.mp4 ")


def test_statuses_of_all_tries_and_latencies_are_summarized():
    replies = [reply(429, 200, sec=9.0), *(reply(200, sec=1.0) for _ in range(19))]
    assert serving.summarize(replies) == {"statuses": {"200": 20, "429": 1}, "median_sec": 1.0, "p95_sec": 9.0}


def test_growth_compares_the_last_quarter_with_the_second():
    assert serving.growth([1.0, 2.0, 2.0, 9.0, 3.0]) == pytest.approx(1.5)
    assert serving.growth([1.0, 2.0, 2.0]) is None


def test_memory_and_processor_time_of_a_process_are_read():
    pid = os.getpid()
    assert serving.resident_mib(pid) > 10
    assert serving.processor_sec(pid) > 0


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_a_small_load_is_answered_as_repcount_count_does_and_from_the_tables(capsys):
    result = run_benchmark(serving, capsys, "--requests", "10", "--clients", "8", "--turns", "1")
    assert result["wrong"] == 0
    assert result["counted"]["statuses"] == result["tables"]["statuses"] == {"200": 10}
    assert result["ratio"] == pytest.approx(result["counted"]["per_sec"] / result["repcount_count"]["per_sec"], rel=0.1)
    assert result["processor_ratio"] > 0
    assert result["memory_mib"] > 100
