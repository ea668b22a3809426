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


def test_every_clip_is_counted_as_it_was_drawn(counts):
    assert {name: count for name, (count, _) in counts.items()} == {name: true for name, (_, true) in counts.items()}
