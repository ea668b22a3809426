"""The program, run in this process."""

from pipeline.main import main


def repcount(*arguments):
    """Runs a command line; returns its exit code."""
    try:
        return main([*map(str, arguments)])
    except SystemExit as stop:
        return stop.code
