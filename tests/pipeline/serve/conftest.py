"""A folder with one video, and a server of it. Test files with other needs have a `served` of their own."""

import logging

import pytest

from tests.support.serving import Served
from tests.support.videos import draw_video


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "a.mp4", 70)
    return folder


@pytest.fixture(scope="module")
def served(folder):
    with Served(folder) as served:
        yield served


@pytest.fixture(autouse=True)
def _errors_of_uvicorn_are_logged(monkeypatch):
    """Undoes for a test what servers of other tests, such as the viewer, told uvicorn to log in this process."""
    logger = logging.getLogger("uvicorn.error")
    level = logger.level
    logger.setLevel(logging.NOTSET)
    for name in ("uvicorn", "uvicorn.error"):
        monkeypatch.setattr(logging.getLogger(name), "propagate", True)
    yield
    logger.setLevel(level)
