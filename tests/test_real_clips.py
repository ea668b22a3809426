"""The default model on real clips with true counts, where these lie beside the checkout; they are no part of it."""

import csv
import functools
from pathlib import Path

import pytest

from pipeline import count_command, main
from pipeline.options import OneLineParser
from transforms.listing import list_videos
from transforms.records import VideoCount

FOLDER = Path(__file__).resolve().parents[2] / "shared" / "realset"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    pytest.mark.skipif(not FOLDER.is_dir(), reason="the real clips are not beside the checkout (../shared/realset)"),
]


@functools.cache
def count_clips():
    """Returns {file: (count, true count)} of all clips, counted as `repcount count` does by default."""
    parser = OneLineParser()
    count_command.add_parser(parser.add_subparsers())
    counter = count_command.load_counter(parser.parse_args(["count", "x"]))
    with (FOLDER / "labels.csv").open(newline="") as file:
        truth = {row["file"]: float(row["count"]) for row in csv.DictReader(file)}
    counts = {}
    for video in list_videos(str(FOLDER / "clips")):
        result = count_command.count_video(video, counter)
        assert isinstance(result, VideoCount), result
        counts[Path(video.uri).name] = (result.counted.count, truth[Path(video.uri).name])
    return counts


def test_most_clips_are_off_by_one_at_most():
    within_one = [abs(count - true) <= 1 for count, true in count_clips().values()]
    assert sum(within_one) / len(within_one) >= 0.7


def test_repetitions_are_not_far_off():
    errors = [abs(count - true) / true for count, true in count_clips().values() if true > 1]
    assert sum(errors) / len(errors) <= 0.25


def test_every_odd_file_is_counted_or_fails_with_a_code(tmp_path, capsys):
    assert main.main(["run", "--input", str(FOLDER / "odd"), "--output", f"duckdb:{tmp_path}/odd.duckdb"]) == 0
    assert "listed 6 = counted 2 + failed 4 + skipped 0" in capsys.readouterr().out
