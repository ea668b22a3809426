"""Several worker processes make the rows that one makes, and what is lost with one that dies, the next run makes up for."""

import os
import signal
import subprocess
import time

import pytest

from demo.draw_videos import draw_videos
from tests.support.runs import draw_many, rows, start

pytestmark = pytest.mark.slow

WORKERS = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]


def run(program, videos, database, *arguments):
    """Runs to the end and returns the rows."""
    process = start(program, videos, database, *arguments)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    assert "WARNING" not in out
    return rows(database)


def test_500_videos_have_the_same_rows_from_two_processes_as_from_one(tmp_path):
    draw_many(tmp_path / "videos", 500)
    arguments = ["tests.support.fake_run", tmp_path / "videos"]
    strides = ["--strides", "1,2"]
    expected = run(*arguments, tmp_path / "one.duckdb", *strides)
    assert len(expected["video_counts"]) == len(expected["frame_curves"]) == 491
    assert len(expected["failures"]) == 9
    assert run(*arguments, tmp_path / "two.duckdb", *strides, *WORKERS) == expected


def test_the_demo_has_the_same_rows_from_two_processes_as_from_one(tmp_path):
    draw_videos(tmp_path / "videos")
    arguments = ["pipeline.main", tmp_path / "videos"]
    expected = run(*arguments, tmp_path / "one.duckdb")
    assert len(expected["video_counts"]) == 6
    assert run(*arguments, tmp_path / "two.duckdb", *WORKERS) == expected


def workers_of(process):
    """Returns the process ids of a run's Beam workers."""
    listed = subprocess.run(["ps", "-eo", "pid=,pgid=,args="], capture_output=True, text=True, check=True).stdout
    lines = [line.split(None, 2) for line in listed.splitlines()]
    return [
        int(pid)
        for pid, group, words in lines
        if int(group) == process.pid and "-m apache_beam" in words and "sh -c" not in words
    ]


def test_a_worker_that_dies_ends_the_run_and_the_next_one_makes_up_for_it(tmp_path):
    draw_many(tmp_path / "videos", 200)
    strides = ["--strides", "1,2"]
    arguments = ["tests.support.fake_run", tmp_path / "videos"]
    expected = run(*arguments, tmp_path / "one.duckdb", *strides)

    process = start(*arguments, tmp_path / "two.duckdb", *strides, *WORKERS)
    while not (workers := workers_of(process)):
        assert process.poll() is None, process.communicate()[0]
        time.sleep(0.05)
    time.sleep(2)
    os.kill(workers[0], signal.SIGKILL)
    out, _ = process.communicate()
    assert process.returncode == 1, out
    assert "a worker process died" in out.splitlines()[-1]
    assert "it is not in the table `runs`" in out.splitlines()[-1]
    assert rows(tmp_path / "two.duckdb") == {"video_counts": [], "frame_curves": [], "failures": []}
    assert run(*arguments, tmp_path / "two.duckdb", *strides, *WORKERS) == expected
