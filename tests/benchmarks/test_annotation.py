"""The annotation benchmark reports both sides of the ratio that docs/performance.md quotes."""

import itertools

import pytest

from benchmarks import annotation
from benchmarks.decoding import encode
from tests.support.benchmarks import run_benchmark


def test_a_small_run_reports_both_sides_and_their_ratio(capsys, monkeypatch):
    monkeypatch.setattr(annotation, "SIZES", {"tiny": (320, 180)})
    result = run_benchmark(annotation, capsys, "--repeats", "1", "--seconds", "1")["msec_per_frame"]["tiny"]
    assert result["alone"] > 0
    assert result["speed_ratio"] == pytest.approx(result["alone"] / result["annotated"], abs=0.01)


def test_decoding_and_encoding_alone_writes_every_frame(tmp_path):
    encode(tmp_path / "a.mp4", (320, 180), 10)
    assert annotation.write_alone(tmp_path / "a.mp4", tmp_path / "b.mp4") == 10
    assert annotation.write_alone(tmp_path / "b.mp4", tmp_path / "c.mp4") == 10


def test_each_frame_of_the_benchmark_shows_something_else():
    timeline = annotation.moving_timeline(60)
    shown = [timeline.at(time_sec) for time_sec in timeline.times_sec]
    assert all(before != after for before, after in itertools.pairwise(shown))
