"""The inference benchmark reports the ratios that the README quotes, and our counts agree with the notebook's method."""

import pytest

from benchmarks import inference
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_ratios_and_equal_counts(capsys):
    result = run_benchmark(inference, capsys, "--seconds", "1", "--repeats", "1", "--batch_windows", "1")
    assert result["notebook_1s_sec"] > 0
    for precision in ("float32", "bfloat16"):
        assert result[f"ours_{precision}_1s_sec"] > 0
        assert result[f"ratio_{precision}_1s"] > 0
        assert result[f"matrix_share_{precision}_1s"] > 0
        assert result[f"matrix_gflops_{precision}"] > 0
        assert result[f"count_difference_{precision}_1s"] >= 0
