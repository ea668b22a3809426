"""The benchmark of ways of scoring reports the ratios that docs/performance.md quotes, and all ways count the same."""

import subprocess
import sys

import pytest

from benchmarks import scoring_ways
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_compares_the_ways_in_turns(capsys):
    result = run_benchmark(scoring_ways, capsys, "--frames", "64", "--repeats", "1")
    assert result["against"] == "plain"
    for way in ("plain", "parts", "compiled"):
        assert result[f"{way}_processor_sec"] > 0
        assert result[f"{way}_wall_sec"] > 0
    assert result["ratio_parts"] > 0
    assert result["ratio_compiled"] > 0


def test_a_way_that_fails_ends_the_comparison():
    child = subprocess.Popen([sys.executable, "-c", ""], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    with pytest.raises((SystemExit, BrokenPipeError)):
        scoring_ways.ask(child)
    child.wait()
