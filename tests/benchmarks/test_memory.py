"""The memory benchmark reports the peaks that the README quotes."""

import pytest

from benchmarks import memory
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_both_peaks_and_their_ratio(capsys):
    result = run_benchmark(memory, capsys, "--minutes", "0.05", "0.1")
    assert result["peak_mib_0.05min"] > 100
    assert result["peak_mib_0.1min"] > 100
    assert result["ratio"] == pytest.approx(result["peak_mib_0.1min"] / result["peak_mib_0.05min"], abs=0.01)
    assert result["sec_0.05min"] > 0
    assert result["sec_0.1min"] > 0
