"""The decoding benchmark reports the times and ratios that the README and docs/performance.md quote."""

import pytest

from benchmarks import decoding
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_each_size_and_the_whole_pipeline(capsys):
    result = run_benchmark(decoding, capsys, "--repeats", "1", "--seconds", "1", "--clips", "1")
    assert set(result["msec_per_frame"]) == {"360p", "720p", "1080p"}
    for times in result["msec_per_frame"].values():
        assert set(times) == {"floor", "here", "apart", "notebook"}
        assert all(msec > 0 for msec in times.values())
    assert all(result["pipeline"][name] > 0 for name in ("bare_sec", "run_sec", "speed_ratio"))
