"""The benchmark of reading reports the seconds of both clients and their ratio."""

import pytest

from benchmarks import reading
from tests.google_cloud import servers
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
@pytest.mark.skipif(not servers.is_installed(), reason="the Google Cloud test servers are not installed; `make test` does that")
def test_a_small_run_reports_each_size(capsys):
    result = run_benchmark(reading, capsys, "--repeats", "1", "--megabytes", "1")
    assert result["1MB"]["client"] > 0
    assert result["1MB"]["beam"] > 0
    assert result["1MB"]["ratio"] > 0
