"""The shipped model counts the demo videos right."""

import pytest

from demo.draw_videos import draw_videos
from tests.support.shipped_model import count_against_truth
from transforms.records import rounded_count


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """{file: (rounded count, true count)} with the default options."""
    folder = tmp_path_factory.mktemp("videos")
    draw_videos(folder)
    counted = count_against_truth(folder, folder / "truth.csv")
    return {name: (rounded_count(count), true) for name, (count, true) in counted.items()}


@pytest.mark.slow
def test_every_set_is_off_by_one_at_most(counts):
    for name, (count, true) in counts.items():
        assert abs(count - true) <= 1, name


@pytest.mark.slow
def test_most_sets_come_out_exactly(counts):
    assert sum(count == true for count, true in counts.values()) >= 5


@pytest.mark.slow
def test_where_nothing_repeats_nothing_is_counted(counts):
    assert counts["no_repetition.mp4"] == (0, 0)
