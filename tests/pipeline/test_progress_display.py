"""Progress goes to standard error, as plain lines where that is no terminal, and not at all with --quiet."""

import json
import logging

import pytest

from pipeline.progress_display import announce, show_progress, show_status, tell
from tests.support.terminals import run_at_terminal


@pytest.fixture
def quiet():
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    yield
    logger.setLevel(level)


def write_totals(path, **totals):
    path.with_name(f"{path.name}.totals").write_text(json.dumps(totals))


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
