"""A run in slices that is killed has counted something: what is committed is not done again, and nothing is lost."""

import os
import signal

import duckdb
import pytest

from tests.support.runs import draw_many, rows, start

pytestmark = pytest.mark.slow

PROGRAM = "tests.support.fake_run"

STRIDES = ["--strides", "1,2"]


def wait_for(process, text):
    """Reads what a run prints until a line contains a text."""
    read = []
    for line in process.stdout:
        read.append(line)
        if text in line:
            return
    raise AssertionError("".join(read))


def run(videos, database, *arguments):
    """Runs to the end and returns what was printed."""
    process = start(PROGRAM, videos, database, *STRIDES, *arguments)
    out, _ = process.communicate()
    assert process.returncode == 0, out
    return out


def query(database, sql):
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(sql).fetchall()


def test_a_run_that_is_killed_in_slice_3_of_5_keeps_slices_1_and_2_and_the_next_one_counts_the_rest(tmp_path):
    videos, database = tmp_path / "videos", tmp_path / "counts.duckdb"
    draw_many(videos, 120)
    run(videos, tmp_path / "undisturbed.duckdb", "--slices", "1")
    expected = rows(tmp_path / "undisturbed.duckdb")
    assert len(expected["video_counts"]) + len(expected["failures"]) == 120

    process = start(PROGRAM, videos, database, *STRIDES, "--slices", "5")
    wait_for(process, "Slice 3 of 5: ")
    wait_for(process, "Counting ")
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    kept = query(database, "SELECT run_id, listed, counted, failed, skipped FROM runs ORDER BY run_id")
    assert [run_id.split("-")[-1] for run_id, *_ in kept] == ["1of5", "2of5"]
    assert all(listed == counted + failed > 0 and not skipped for _, listed, counted, failed, skipped in kept)
    owners = "SELECT video_uri, run_id FROM video_counts UNION ALL SELECT video_uri, run_id FROM failures ORDER BY ALL"
    before = query(database, owners)
    assert len(before) == sum(listed for _, listed, *_ in kept)

    out = run(videos, database, "--slices", "5")
    assert "Slice 1 of 5: nothing to do\nSlice 2 of 5: nothing to do\nSlice 3 of 5: " in out
    assert "listed 120 = " in out
    assert f"skipped {len(before)}" in out
    assert rows(database) == expected
    assert set(before) <= set(query(database, owners))
    assert query(database, "SELECT COUNT(*), SUM(listed) FROM runs") == [(7, 120 + len(before))]
    assert query(database, "SELECT COUNT(*) FROM runs WHERE listed != counted + failed + skipped") == [(0,)]
