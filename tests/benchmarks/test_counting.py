"""The benchmark of counting reports the time of the vote, and the bytes that wait, each against its plain form."""

import pytest

from benchmarks import counting
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_both_votes_and_their_ratio(capsys):
    result = run_benchmark(counting, capsys, "--videos", "1")
    assert result["videos"] == 1
    assert set(result["core_msec_per_minute"]) == {"vote", "plain_vote", "count"}
    assert all(msec > 0 for msec in [result["ratio"], *result["core_msec_per_minute"].values()])
    assert set(result["kilobytes_per_minute"]) == {"logits", "evidence"}
    assert result["bytes_ratio"] > 5
    assert result["largest_change"] < 1e-3
