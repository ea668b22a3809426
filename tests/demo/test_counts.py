"""The shipped model counts the demo videos right."""

import csv
from pathlib import Path

import pytest

from demo.draw_videos import draw_videos
from pipeline import count_command
from pipeline.options import OneLineParser
from transforms.listing import list_videos
from transforms.records import VideoCount
from transforms.rows import rounded_count


@pytest.fixture(scope="module")
def counts(tmp_path_factory):
    """{file: (count, true count)} with the default options."""
    folder = tmp_path_factory.mktemp("videos")
    draw_videos(folder)
    parser = OneLineParser()
    count_command.add_parser(parser.add_subparsers())
    counter = count_command.load_counter(parser.parse_args(["count", "x"]))
    with (folder / "truth.csv").open(newline="") as file:
        truth = {row["file"]: int(row["count"]) for row in csv.DictReader(file)}
    found = {}
    for video in list_videos(str(folder)):
        result = count_command.count_video(video, counter)
        assert isinstance(result, VideoCount)
        found[Path(video.uri).name] = (rounded_count(result.counted.count), truth.pop(Path(video.uri).name))
    assert not truth
    return found


def test_every_set_is_off_by_one_at_most(counts):
    for name, (count, true) in counts.items():
        assert abs(count - true) <= 1, name


def test_most_sets_come_out_exactly(counts):
    assert sum(count == true for count, true in counts.values()) >= 5


def test_where_nothing_repeats_nothing_is_counted(counts):
    assert counts["no_repetition.mp4"] == (0, 0)
