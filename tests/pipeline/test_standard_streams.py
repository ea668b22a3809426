"""Closed, full and cut-off standard streams are one line at most, never a traceback; the exit code tells what was committed."""

import json
import os
import subprocess
import sys

import duckdb
import pytest

from tests.support.videos import draw_video

PROGRAM = f"{sys.executable} -m pipeline"
"""The command as a shell runs it."""

FAKE_RUN = f"{sys.executable} -m tests.support.fake_run run --strides 1,2 --input videos --output duckdb:c.duckdb"
"""A run with the fake model."""

FULL = "cannot write to standard output: No space left on device"

CLOSED = "cannot write to standard output: Bad file descriptor"

BROKEN_PIPE = 141

UNTIL_NOBODY_READS = '(trap "" PIPE; while echo; do sleep 0.01; done 2>/dev/null)'
"""Line of bash that ends once nothing reads from standard output."""


@pytest.fixture
def shell(tmp_path):
    """Runs a line of bash in a folder of its own; checks that no traceback appears, and returns what it prints."""

    def run(line, **environment):
        finished = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {line}"],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": os.getcwd(), **environment},
            capture_output=True,
            text=True,
            check=False,
        )
        assert "Traceback" not in finished.stderr
        assert "Exception" not in finished.stderr
        return finished

    return run


@pytest.fixture
def videos(tmp_path):
    (tmp_path / "videos").mkdir()
    draw_video(tmp_path / "videos" / "squåts….mp4", 70)


def redirected(command, redirection):
    """Returns a line of bash. What it pipes to `true` starts once that has ended, so that it never writes before."""
    other, pipe, _ = redirection.partition("| true")
    return f"{{ {UNTIL_NOBODY_READS}; {command} {other}; }} | true" if pipe else f"{command} {redirection}"


def committed(folder):
    """Returns the rows of `runs`: counted and failed."""
    with duckdb.connect(str(folder / "c.duckdb"), read_only=True) as database:
        return database.execute("SELECT counted, failed FROM runs").fetchall()


@pytest.mark.parametrize("command", ["--help", "--version", "model list", "cost"])
@pytest.mark.parametrize(
    ("redirection", "exit_code", "last_line"),
    [
        (">/dev/full", 1, f"repcount: {FULL}"),
        (">&-", 1, f"repcount: {CLOSED}"),
        ("| true", BROKEN_PIPE, None),
        ("2>&- | cat", 0, None),
        ("2>/dev/full | cat", 0, None),
        ("<&- >&- 2>&-", 1, None),
    ],
)
def test_output_that_nobody_gets_is_one_line_at_most(shell, command, redirection, exit_code, last_line):
    finished = shell(redirected(f"{PROGRAM} {command}", redirection))
    assert finished.returncode == exit_code
    assert finished.stderr.splitlines() == ([last_line] if last_line else [])


def test_a_mistake_stays_exit_code_2_without_any_stream(shell):
    assert shell(f"{PROGRAM} nosuch <&- >&- 2>&-").returncode == 2
    assert shell(f"{PROGRAM} count nothing/** > /dev/full 2>&1").returncode == 2


@pytest.mark.usefixtures("videos")
@pytest.mark.slow
@pytest.mark.parametrize("redirection", [">/dev/full", "| true", ">&-", "2>&1 | true", "2>/dev/full", "<&- >&- 2>&-"])
def test_a_run_whose_rows_are_committed_is_green_whatever_becomes_of_its_output(shell, tmp_path, redirection):
    finished = shell(redirected(FAKE_RUN, redirection))
    assert finished.returncode == 0
    assert committed(tmp_path) == [(1, 0)]
    assert finished.stderr.count("cannot write to standard output") == (1 if redirection in (">/dev/full", ">&-") else 0)


@pytest.mark.usefixtures("videos")
@pytest.mark.slow
def test_a_dry_run_is_nothing_but_its_output(shell):
    finished = shell(f"{FAKE_RUN} --dry_run >/dev/full")
    assert finished.returncode == 1
    assert finished.stderr.splitlines()[-1] == f"repcount: {FULL}"


@pytest.mark.slow
def test_what_is_created_or_deleted_counts_not_what_is_printed(shell, tmp_path):
    assert shell(f"{PROGRAM} tables --output duckdb:c.duckdb >&- 2>&-").returncode == 0
    assert committed(tmp_path) == []
    delete = f"{PROGRAM} delete --output duckdb:c.duckdb --before 2026-01-01"
    assert shell(f"{delete} >/dev/full").returncode == 0
    assert shell(f"{delete} --dry_run >/dev/full").returncode == 1


@pytest.mark.usefixtures("videos")
@pytest.mark.slow
def test_names_and_signs_that_an_encoding_lacks_are_escaped(shell):
    finished = shell(FAKE_RUN, PYTHONIOENCODING="ascii")
    assert finished.returncode == 0
    assert "videos/squ\\xe5ts....mp4" in finished.stdout
    assert "Loading model lite ...\n" in finished.stderr


def test_a_table_in_ascii_has_no_other_sign(shell):
    finished = shell(f"{PROGRAM} model list", PYTHONIOENCODING="ascii")
    assert finished.returncode == 0
    assert "repnet-2020" in finished.stdout
    assert finished.stdout.isascii()


def test_a_file_never_gets_the_number_of_a_closed_stream(shell, tmp_path):
    code = "import json, os; from pipeline.standard_streams import guard_streams; guard_streams(); file = open('opened', 'w'); "
    assert shell(f'{sys.executable} -c "{code} json.dump(file.fileno(), file)" <&- >&- 2>&-').returncode == 0
    assert json.loads((tmp_path / "opened").read_text()) > 2
