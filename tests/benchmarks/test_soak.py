"""A short soak: runs that overlap, are killed and meet faults lose no row and double none."""

import pytest

from benchmarks import soak
from tests.google_cloud import servers
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.skipif(not servers.is_installed(), reason="the Google Cloud test servers are not installed; `make test` does that")
def test_runs_that_overlap_are_killed_and_meet_faults_lose_no_row_and_double_none(capsys):
    result = run_benchmark(soak, capsys, "--minutes", "1.5")
    wrong = ("lost", "doubled", "different", "other_problems")
    assert {name: result[name] for name in wrong} == dict.fromkeys(wrong, 0)
    assert result["runs"] > 0
    assert sum(result["faults"].values()) > 0
    assert all(rows > result["videos"] for rows in result["rows"].values())
