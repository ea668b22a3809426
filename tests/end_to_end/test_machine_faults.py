"""A machine that fails records no failure: the run ends with one line and exit code 1, and the next run counts every video."""

import errno
import re
import shutil

import duckdb
import pytest
import tensorflow as tf
from google.api_core.exceptions import Forbidden

from tests.support import fake_run
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from transforms.decoding import decode_video
from transforms.inference import RepNetModelHandler
from transforms.warehouse import parquet

NUM_VIDEOS = 100

GOOD_VIDEOS = 40
"""Videos after which the machine fails."""


@pytest.fixture
def run(tmp_path, monkeypatch, capsys):
    """Runs `repcount run` on 100 videos; returns its exit code, output and error output."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "videos").mkdir()
    first = draw_video(tmp_path / "videos" / "0.mp4", 40)
    for number in range(1, NUM_VIDEOS):
        shutil.copyfile(first, tmp_path / "videos" / f"{number}.mp4")

    def run_once():
        code = fake_run.run_fake(["run", "--strides", "1,2", "--input", "videos", "--output", "duckdb:c.duckdb"])
        return code, *capsys.readouterr()

    return run_once


def number_of_rows(table):
    with duckdb.connect("c.duckdb", read_only=True) as database:
        return database.execute(f"SELECT count(*) FROM {table}").fetchone()[0]


def failing_after(good, error, function):
    """Returns `function`, which raises an error after a number of calls."""
    calls = []

    def call(*args, **kwargs):
        calls.append(args)
        if len(calls) > good:
            raise error
        return function(*args, **kwargs)

    return call


def lose_gpu(patch):
    error = tf.errors.InternalError(None, None, "CUDA_ERROR_ILLEGAL_ADDRESS:\nan illegal memory access")
    broken = type("BrokenScorer", (FakeScorer,), {"score": failing_after(GOOD_VIDEOS, error, FakeScorer.score)})
    patch.setattr(fake_run, "make_fake_handler", lambda config: RepNetModelHandler(broken))
    return "InternalError: CUDA_ERROR_ILLEGAL_ADDRESS: an illegal memory access"


def fill_disk(patch):
    error = OSError(errno.ENOSPC, "No space left on device")
    patch.setattr(decode_video, "open_video", failing_after(GOOD_VIDEOS, error, decode_video.open_video))
    return "OSError: [Errno 28] No space left on device"


@pytest.mark.slow
@pytest.mark.parametrize("break_machine", [lose_gpu, fill_disk])
def test_a_fault_of_the_machine_fails_no_video_and_the_next_run_counts_all_of_them(run, monkeypatch, break_machine):
    with monkeypatch.context() as patch:
        fault = break_machine(patch)
        code, out, err = run()
    assert (code, out) == (1, "")
    *_, line = err.splitlines()
    assert "Traceback" not in err
    assert line.startswith("repcount run: run ")
    assert f"met a fault of the machine, not of the video: {fault}; no video counts as failed" in line
    assert "the next run takes them up again" in line
    assert [number_of_rows(table) for table in ("video_counts", "frame_curves", "failures", "runs")] == [0, 0, 0, 0]

    code, out, _ = run()
    assert code == 0
    assert "listed 100 = counted 100 + failed 0 + skipped 0" in out


@pytest.mark.parametrize("rows", ["listing", "failures"])
def test_a_staging_folder_that_refuses_a_file_ends_the_run_with_one_line(tmp_path, monkeypatch, capsys, rows):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    create = parquet.FileSystems.create

    def refuse(path):
        if f"/{rows}/" in path:
            raise Forbidden("no right to create objects\nin this bucket")
        return create(path)

    monkeypatch.setattr(parquet.FileSystems, "create", refuse)
    code = fake_run.run_fake(["run", "--strides", "1,2", "--input", "empty.mp4", "--output", "duckdb:c.duckdb"])
    out, err = capsys.readouterr()
    *earlier, line = err.splitlines()
    assert (code, out) == (1, "")
    assert [words.split()[0] for words in earlier if words] == ["Loading", "Counting"][: len(earlier)]
    assert re.match(r"repcount run: run \S+ failed: cannot write (the listing|rows) to \S+: Forbidden: 403", line)
    assert "in this bucket" in line


def test_a_file_in_the_place_of_the_folder_for_notes_is_invalid_input(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.mp4").touch()
    (tmp_path / "c.duckdb.attempts").touch()
    code = fake_run.run_fake(["run", "--strides", "1,2", "--input", "empty.mp4", "--output", "duckdb:c.duckdb"])
    *_, line = capsys.readouterr().err.splitlines()
    assert code == 2
    assert re.match(r"repcount run: notes beside the database need a folder; .* Received: \S+/c\.duckdb\.attempts$", line)
    assert not (tmp_path / "c.duckdb").exists()
