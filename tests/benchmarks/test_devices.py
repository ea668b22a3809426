"""The benchmark of devices reports the frames per second that docs/performance.md quotes."""

import pytest

from benchmarks import devices
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_each_case(capsys):
    arguments = "--models lite --precisions float32 --batch_frames 64 --frames 64 --repeats 1"
    result = run_benchmark(devices, capsys, *arguments.split())
    assert result["device"]
    assert [case["batch_frames"] for case in result["results"]] == [64]
    for case in result["results"]:
        assert (case["model"], case["precision"]) == ("lite", "float32")
        assert case["frames_per_sec"] > 0
        assert case["share_of_matrix_rate"] > 0
