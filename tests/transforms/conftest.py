"""Fixtures of the tests of steps, and of what lists and reads videos."""

import pytest


@pytest.fixture
def videos_dir(tmp_path):
    """A folder with four videos and two other files, some of them in folders below it."""
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.mp4", "B.MOV", "notes.txt", "deep/c.webm", "deep/er/d.gif", "deep/er/e.json"):
        (tmp_path / name).write_bytes(b"x" * 10)
    return tmp_path
