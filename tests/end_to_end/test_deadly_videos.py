"""A video that kills its worker fails at the third attempt, and every other video is counted as if it were not there."""

import signal

import duckdb
import pytest

from tests.support.runs import draw_many, rows, start
from tests.support.videos import draw_deadly

pytestmark = pytest.mark.slow

WORKERS = ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]

WORKER_DIED = [("deadly.mp4", "decode", "WORKER_DIED")]


def run(videos, database, *arguments, program="tests.support.deadly_run"):
    """Runs to the end, whichever that is; returns the exit code and what was printed."""
    process = start(program, videos, database, "--strides", "1,2", *arguments)
    out, _ = process.communicate()
    return process.returncode, out


def failures(database):
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute("SELECT parse_filename(video_uri), stage, code FROM failures").fetchall()


@pytest.fixture
def videos(tmp_path):
    """A folder of 30 good videos and a deadly one, and the rows of a run without that."""
    folder = tmp_path / "videos"
    draw_many(folder, 30)
    code, out = run(folder, tmp_path / "undisturbed.duckdb")
    assert code == 0, out
    draw_deadly(folder / "deadly.mp4")
    return folder, rows(tmp_path / "undisturbed.duckdb")


def assert_others_are_counted(database, expected):
    found = rows(database)
    assert len(expected["video_counts"]) == 30
    assert (found["video_counts"], found["frame_curves"]) == (expected["video_counts"], expected["frame_curves"])
    assert failures(database) == WORKER_DIED


def test_a_video_that_kills_a_run_twice_fails_in_the_third_and_can_be_requeued(tmp_path, videos):
    folder, expected = videos
    database = tmp_path / "counts.duckdb"
    assert [run(folder, database)[0] for _ in range(2)] == [-signal.SIGKILL, -signal.SIGKILL]

    code, out = run(folder, database)
    assert code == 0, out
    assert "listed 31 = counted 30 + failed 1 + skipped 0" in out
    assert_others_are_counted(database, expected)

    code, out = run(folder, database)
    assert code == 0, out
    assert "skipped 31" in out

    code, out = run(folder, database, "--requeue", "WORKER_DIED", program="tests.support.fake_run")
    assert code == 0, out
    assert "listed 31 = counted 1 + failed 0 + skipped 30" in out
    assert failures(database) == []


def test_a_video_that_kills_a_worker_process_fails_its_slice_twice_and_itself_in_the_third_run(tmp_path, videos):
    folder, expected = videos
    database = tmp_path / "counts.duckdb"
    arguments = ("--slices", "3", *WORKERS)
    for _ in range(2):
        code, out = run(folder, database, *arguments)
        assert code == 1, out
        assert "a worker process died" in out.splitlines()[-1]
        assert "1 slices are not in the table `runs`" in out.splitlines()[-1]

    code, out = run(folder, database, *arguments)
    assert code == 0, out
    assert "listed 31 = " in out
    assert_others_are_counted(database, expected)
