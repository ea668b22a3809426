"""The benchmark of the progress display prints both sides and their ratio."""

import json

import pytest

from benchmarks import progress
from tests.support.scorers import FakeScorer


def test_the_share_of_a_core_adds_marks_for_each_chunk_and_looks_for_each_half_second():
    assert progress.share_of_core(mark_sec=0.001, look_sec=0.005, score_sec=1.0) == pytest.approx(0.001 + 0.01)


def test_both_sides_are_printed(monkeypatch, capsys):
    monkeypatch.setattr(progress, "lite", FakeScorer)
    progress.main(["--frames", "64", "--videos", "20"])
    *lines, last = capsys.readouterr().out.splitlines()
    assert "a mark " in lines[0]
    assert "% of one core" in lines[1]
    result = json.loads(last)
    assert result["benchmark"] == "progress"
    assert result["mark_sec"] > 0
    assert result["look_sec"] > 0
    assert result["score_sec"] > 0
