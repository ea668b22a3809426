"""`repcount` itself: help for those who ask, one line and exit code 2 for mistakes."""

import subprocess
import sys

import pytest

from pipeline import main


@pytest.mark.parametrize(
    "command", [[], ["run"], ["count"], ["evaluate"], ["model"], ["model", "fetch"], ["model", "verify"], ["delete"]]
)
def test_every_command_explains_itself(command, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main([*command, "--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("usage: repcount")


@pytest.mark.parametrize(
    "arguments", [[], ["dance"], ["count"], ["count", "a.mp4", "--no_such"], ["model"], ["run", "--show", "x"]]
)
def test_a_mistake_is_one_line_on_standard_error(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        main.main(arguments)
    assert stop.value.code == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("repcount")


def test_help_does_not_wait_for_tensorflow():
    code = "import sys; from pipeline import main; print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout == "False\n"


def test_beams_note_about_memory_is_dropped_and_nothing_else():
    import logging

    def record(message):
        return logging.LogRecord("root", logging.WARNING, "", 0, message, (), None)

    assert not main._is_for_people(record("Resource module is not available for current platform"))
    assert main._is_for_people(record("The staged files could not be removed"))
