"""The benchmark of scale reports the speed, memory and sizes that docs/scale.md quotes."""

import pytest

from benchmarks import scale
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_each_night(capsys):
    result = run_benchmark(scale, capsys, "--videos", "3", "6", "--workers", "2")
    assert result["workers"] == 2
    assert set(result["nights"]) == {"3", "6"}
    for night in result["nights"].values():
        assert all(night[name] > 0 for name in ("seconds", "runner_bytes", "worker_bytes", "row_bytes"))
    sizes = result["element_bytes"]
    assert sizes["selected"] < sizes["reduced"] < sizes["scored"] < sizes["decoded"]
    assert set(result["bytes_per_video"]) == {"runner_bytes", "worker_bytes"}
