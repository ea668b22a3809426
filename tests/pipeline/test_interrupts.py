"""Ctrl-C ends a command with one line and exit code 130."""

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.interrupts import interrupts_stay_interrupts
from tests.support.videos import draw_video

ROOT = Path(__file__).parents[2]


def interrupt(words, ready, number=signal.SIGINT):
    """Starts a program, sends a signal to its process group once it prints `ready`; returns exit code and standard error."""
    before = signal.signal(signal.SIGHUP, lambda number, frame: None)  # ignored under `nohup`, and programs would inherit that
    process = subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    signal.signal(signal.SIGHUP, before)
    printed = []
    for line in process.stderr:
        printed.append(line)
        if re.search(ready, line):
            break
    os.killpg(process.pid, number)
    rest = process.communicate()[1]
    return process.returncode, "".join(printed) + rest


def copies(folder, num_videos):
    first = draw_video(folder / "000.mp4", 200)
    for number in range(1, num_videos):
        shutil.copy(first, folder / f"{number:03d}.mp4")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_count_says_in_one_line_that_it_was_interrupted(tmp_path, number):
    copies(tmp_path, 2)
    code, error = interrupt(["pipeline", "count", tmp_path], "Loading model", number)
    assert (code, error) == (128 + number, "Loading model lite …\nrepcount count: interrupted\n")


@pytest.mark.slow
def test_a_run_that_a_service_stops_leaves_neither_notes_nor_staged_rows(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    copies(videos, 100)
    words = ["pipeline", "run", "--input", videos, "--output", f"duckdb:{out}/c.duckdb"]
    code, error = interrupt(words, "Counting 100 videos", signal.SIGTERM)
    assert (code, error.splitlines()[-1]) == (143, "repcount run: interrupted")
    assert [path.name for path in out.iterdir()] == ["c.duckdb"]


def test_run_says_in_one_line_that_it_was_interrupted_and_cleans_up(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    copies(videos, 400)
    words = ["tests.support.fake_run", "run", "--input", videos, "--output", f"duckdb:{out}/c.duckdb", "--strides", "1,2"]
    code, error = interrupt(words, "Counting 400 videos")
    assert (code, error) == (130, "Loading model lite …\nCounting 400 videos …\nrepcount run: interrupted\n")
    assert [path.name for path in out.iterdir()] == ["c.duckdb"]


@pytest.mark.slow
def test_a_run_with_worker_processes_says_in_one_line_that_it_was_interrupted_and_ends_them(tmp_path):
    videos, out = tmp_path / "videos", tmp_path / "out"
    videos.mkdir()
    copies(videos, 300)
    words = ["tests.support.fake_run", "run", "--input", videos, "--output", f"duckdb:{out}/c.duckdb", "--strides", "1,2"]
    words += ["--direct_running_mode", "multi_processing", "--direct_num_workers", "2"]
    code, error = interrupt(words, "Counting 300 videos")
    assert (code, error) == (130, "Loading model lite …\nCounting 300 videos …\nrepcount run: interrupted\n")
    assert [path.name for path in out.iterdir()] == ["c.duckdb"]
    listed = subprocess.run(["ps", "-A", "-ww", "-o", "args="], capture_output=True, text=True, check=True).stdout
    assert str(out) not in listed


def test_workers_are_ended_when_the_interrupt_comes():
    ended = []

    @interrupts_stay_interrupts(lambda: ended.append(True))
    def run_a_step():
        try:
            signal.raise_signal(signal.SIGINT)
        finally:
            assert ended == [True]

    with pytest.raises(KeyboardInterrupt):
        run_a_step()


def test_an_interrupt_that_became_another_error_is_an_interrupt_again():
    @interrupts_stay_interrupts()
    def run_a_step():
        try:
            signal.raise_signal(signal.SIGINT)
        except KeyboardInterrupt as error:
            raise RuntimeError("KeyboardInterrupt [while running 'Score']") from error

    with pytest.raises(KeyboardInterrupt):
        run_a_step()


def test_other_errors_and_handlers_stay_as_they_are():
    before, report = signal.getsignal(signal.SIGINT), threading.excepthook
    with pytest.raises(RuntimeError, match="other"), interrupts_stay_interrupts():
        raise RuntimeError("other")
    assert signal.getsignal(signal.SIGINT) is before
    assert threading.excepthook is report
