"""The benchmark of scale reports the speed, memory and sizes that docs/scale.md quotes."""

import duckdb
import pytest

from benchmarks import scale
from benchmarks.processes import MemorySample
from benchmarks.scale import Night, SliceMemory
from tests.support.benchmarks import run_benchmark


def test_each_slice_has_the_memory_from_its_start_to_the_start_of_the_next():
    taken = [
        MemorySample(unix_sec, own_bytes, child_bytes)
        for unix_sec, own_bytes, child_bytes in [(0, 999, 0), (1, 10, 0), (2, 30, 7), (3, 20, 0), (4, 15, 0), (5, 25, 9)]
    ]
    assert scale.divide(taken, [(100, 1, 3), (200, 4, 4.5)]) == [
        SliceMemory(100, 2, first_bytes=10, runner_bytes=30, worker_bytes=7, left_bytes=20),
        SliceMemory(200, 0.5, first_bytes=15, runner_bytes=25, worker_bytes=9, left_bytes=25),
    ]


def test_growth_is_told_apart_within_a_slice_and_from_slice_to_slice():
    night = Night(
        seconds=9.0,
        row_bytes=1,
        slices=(SliceMemory(10, 1.0, 100, 200, 50, 150), SliceMemory(20, 1.0, 150, 250, 40, 160)),
    )
    assert night.within_slice == (10 + 5) / 2
    assert night.across_slices == 2.5
    assert night.last_to_first == 1.25
    assert (night.runner_bytes, night.worker_bytes) == (250, 50)


@pytest.mark.parametrize("curves", [1, 3])
def test_a_video_without_its_rows_is_found(curves, tmp_path):
    database = tmp_path / "counts.duckdb"
    with duckdb.connect(str(database)) as connection:
        connection.execute("CREATE TABLE runs AS SELECT 2 AS listed")
        connection.execute("CREATE TABLE video_counts AS SELECT UNNEST(['a', 'b']) AS video_uri")
        connection.execute(f"CREATE TABLE frame_curves AS SELECT UNNEST(RANGE({curves})) AS points")
    with pytest.raises(SystemExit, match="expected 2 videos"):
        scale.check_rows(database, 2)


@pytest.mark.slow
def test_a_small_run_reports_each_night_and_each_slice(capsys):
    result = run_benchmark(scale, capsys, "--videos", "3", "12", "--slice_videos", "6", "--workers", "2")
    assert result["workers"] == 2
    assert [len(result["nights"][number]["slices"]) for number in ("3", "12")] == [1, 2]
    for number, night in result["nights"].items():
        assert all(night[name] > 0 for name in ("seconds", "runner_bytes", "worker_bytes", "row_bytes"))
        assert sum(part["videos"] for part in night["slices"]) == int(number)
        assert all(part["runner_bytes"] >= part["first_bytes"] for part in night["slices"])
    sizes = result["element_bytes"]
    assert sizes["selected"] < sizes["reduced"] < sizes["scored"] < sizes["decoded"]
    assert set(result["bytes_per_video"]) == {"runner_bytes", "worker_bytes"}
