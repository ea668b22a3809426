"""The shipped model counts the demo videos correctly."""

import pytest

from demo.draw_videos import draw_videos
from model.frame_counts import rounded_count
from tests.support.shipped_model import count_against_truth


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """Returns {file: (rounded count, true count)} with the default options."""
    folder = tmp_path_factory.mktemp("videos")
    draw_videos(folder)
    counted = count_against_truth(folder, folder / "truth.csv")
    return {name: (rounded_count(count), true) for name, (count, true) in counted.items()}


@pytest.mark.slow
def test_every_count_is_off_by_at_most_one(counts):
    for name, (count, true) in counts.items():
        assert abs(count - true) <= 1, name


@pytest.mark.slow
def test_most_counts_are_exact(counts):
    assert sum(count == true for count, true in counts.values()) >= 4


@pytest.mark.slow
def test_a_video_without_repetitions_counts_0(counts):
    assert counts["no_repetition.mp4"] == (0, 0)
