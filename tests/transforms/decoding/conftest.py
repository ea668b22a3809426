"""Fixtures of the decoding tests."""

import pytest

from tests.support.videos import draw_video, numbered


@pytest.fixture(scope="package")
def clip(tmp_path_factory):
    """Path of eighty numbered frames at 30 fps."""
    return draw_video(tmp_path_factory.mktemp("clip") / "clip.mp4", 80, draw=numbered)
