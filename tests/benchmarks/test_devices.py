"""The benchmark of devices reports the frames per second that docs/performance.md quotes."""

import pytest

from benchmarks import devices
from tests.support.benchmarks import run_benchmark


@pytest.mark.slow
def test_a_small_run_reports_each_case(capsys):
    arguments = "--models lite repnet-2020 --precisions float32 int8 --batch_frames 64 --frames 64 --repeats 1"
    result = run_benchmark(devices, capsys, *arguments.split())
    assert result["device"]
    cases = {(case["model"], case["precision"]): case for case in result["results"]}
    assert list(cases) == [("lite", "float32"), ("repnet-2020", "float32"), ("lite", "int8")]
    for (_, precision), case in cases.items():
        assert case["batch_frames"] == 64
        assert case["frames_per_sec"] > 0
        assert case.get("share_of_matrix_rate", 0) > 0 or precision == "int8"
