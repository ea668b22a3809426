"""Progress goes to standard error, as plain lines where that is no terminal, and not at all with --quiet."""

import dataclasses
import io
import json
import logging
import re
import sys
import time

import pytest
import rich.console

from pipeline import progress_display
from pipeline.progress_display import announce, show_progress, show_status, tell
from pipeline.progress_figures import WholeRun
from tests.support.samples import make_video
from tests.support.terminals import lines_of, run_at_terminal
from tests.support.videos import draw_video
from transforms.failure_codes import FailureCode, Stage
from transforms.progress import mark
from transforms.records import Failure, Slice


@pytest.fixture
def quiet():
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def write_totals(path, **totals):
    path.with_name(f"{path.name}.totals").write_text(json.dumps(totals))


def mark_failures(path, num_videos):
    for number in range(num_videos):
        mark(Failure(make_video(f"{number}.mp4"), Stage.DECODE, FailureCode.NO_FRAMES, "none"), str(path))


@dataclasses.dataclass
class Terminal:
    """A terminal that remembers what was written to it."""

    width: int
    stream: io.StringIO = dataclasses.field(default_factory=io.StringIO)

    @property
    def lines(self):
        """Lines without the control characters of a terminal."""
        return lines_of(self.stream.getvalue())


@pytest.fixture
def terminal(monkeypatch):
    """Makes standard error a terminal of a width."""

    def make(width):
        terminal = Terminal(width)
        monkeypatch.setattr(sys, "stderr", terminal.stream)

        def console(**options):
            return rich.console.Console(width=width, force_terminal=True, color_system=None, **options)

        monkeypatch.setattr(progress_display, "Console", console)
        return terminal

    return make


def test_an_announcement_is_one_line(capsys):
    with announce("Loading model a\nb …"):
        assert capsys.readouterr().err == "Loading model a\ufffdb …\n"
    assert capsys.readouterr() == ("", "")


def test_a_line_is_told_unless_it_is_quiet(capsys, request):
    tell("Slice 1 of 2: a\nb")
    assert capsys.readouterr() == ("", "Slice 1 of 2: a\ufffdb\n")
    request.getfixturevalue("quiet")
    tell("Slice 2 of 2")
    assert capsys.readouterr() == ("", "")


def test_a_run_announces_once_how_much_there_is_to_do(tmp_path, capsys):
    path = tmp_path / "progress"
    write_totals(path, listed=1500, skipped=200, left=0)
    with show_progress(str(path)):
        pass
    assert capsys.readouterr() == ("", "Counting 1,300 videos, 200 are counted already …\n")


def test_a_run_that_is_no_terminal_tells_every_minute_how_far_it_is(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress_display, "LINE_SEC", 0.0)
    path = tmp_path / "progress"
    with show_progress(str(path)):
        write_totals(path, listed=1500, skipped=200, left=0)
        mark_failures(path, 3)
        capsys.readouterr()
        wait_for(capsys, "3 of 1,300 videos done, 3 failed\n")


def test_a_slice_that_is_no_terminal_also_tells_of_the_whole_run(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(progress_display, "LINE_SEC", 0.0)
    path = tmp_path / "progress"
    write_totals(path, listed=10, skipped=0, left=0)
    with show_progress(str(path), WholeRun(Slice(2, 3), num_videos=30, done=10)):
        wait_for(capsys, "Slice 2 of 3: 0 of 10 videos done, 0 failed; all slices: 10 of 30 videos done\n")


def wait_for(capsys, line):
    """Waits until a line is printed."""
    printed = ""
    for _ in range(100):
        printed += capsys.readouterr().err
        if line in printed:
            return
        time.sleep(0.1)
    raise AssertionError(printed)


@pytest.mark.parametrize("width", [60, 80, 120])
@pytest.mark.parametrize(
    ("whole", "names"),
    [(None, ["Counting"]), (WholeRun(Slice(12, 100), 9_300_000, 433_000), ["Slice 12 of 100", "All slices"])],
)
def test_a_terminal_shows_all_figures_in_lines_that_fit(tmp_path, terminal, width, whole, names):
    path = tmp_path / "progress"
    write_totals(path, listed=1_200_000, skipped=200_000, left=100_000)
    screen = terminal(width)
    with show_progress(str(path), whole):
        mark_failures(path, 3)
    assert max(map(len, screen.lines)) <= width
    shown = "\n".join(screen.lines)
    for figure in (*names, "3 of 900,000 videos", "listed 1,100,000", "skipped 200,000", "failed 3"):
        assert figure in shown, figure
    assert ("433,003 of 9,300,000 videos" in shown) is bool(whole)


def test_a_log_message_appears_above_the_bars(tmp_path, terminal):
    path = tmp_path / "progress"
    write_totals(path, listed=3, skipped=0, left=0)
    screen = terminal(60)
    handler = logging.StreamHandler(screen.stream)
    logging.getLogger().addHandler(handler)
    try:
        with show_progress(str(path)):
            logging.getLogger("apache_beam").warning("a worker is slow")
    finally:
        logging.getLogger().removeHandler(handler)
    assert "a worker is slow" in [line.strip() for line in screen.lines]
    assert handler.stream is screen.stream


@pytest.mark.slow
def test_a_run_in_a_terminal_of_60_columns_shows_its_figures_and_wraps_nothing(tmp_path):
    draw_video(tmp_path / "squats.mp4", 100)
    draw_video(tmp_path / "rows.mp4", 90)
    (tmp_path / "empty.mp4").touch()
    words = ["run", "--input", tmp_path, "--output", f"duckdb:{tmp_path}/counts.duckdb", "--strides", "1,2"]
    code = f"import sys; from tests.support.fake_run import run_fake; sys.argv[1:] = {[*map(str, words)]}; sys.exit(run_fake())"
    exit_code, _, shown = run_at_terminal(code, width=60, with_output=True)
    lines = lines_of(shown)
    assert exit_code == 0, lines
    shown = [line for line in lines if "videos" in line or "failed" in line]
    assert any(re.fullmatch(r"Counting .*3 of 3 videos writing rows *", line) for line in shown), lines
    # A run that is over when it is looked at for the first time has no pace.
    assert any(re.match(r"listed 3 · skipped 0 · failed 1( ·|$)", line) for line in shown), lines
    assert all(len(line) <= 60 for line in shown if not line.startswith("run ")), lines


def test_a_run_whose_workers_are_elsewhere_shows_nothing(capsys):
    with show_progress(None):
        pass
    assert capsys.readouterr() == ("", "")


def test_status_is_for_terminals(capsys):
    with show_status("Counting") as update:
        update("a.mp4 (1 of 2)")
    assert capsys.readouterr() == ("", "")


def test_what_is_printed_beside_a_status_stays_on_standard_output():
    code = "from pipeline.progress_display import show_status\nwith show_status('Counting [red]'): print('8')"
    exit_code, output, shown = run_at_terminal(code)
    assert (exit_code, output) == (0, "8\n")
    assert "Counting [red]" in shown
    assert "8" not in shown


@pytest.mark.usefixtures("quiet")
def test_quiet_silences_everything(tmp_path, capsys):
    path = tmp_path / "progress"
    write_totals(path, listed=1, skipped=0, left=0)
    with announce("Loading model lite …"), show_progress(str(path)):
        pass
    assert capsys.readouterr() == ("", "")
