"""The default model counts files whose tracks, clocks or packets are out of order; `test_reader` draws such files itself.

All files show the same eight push-ups in 10.7 s. They are not part of the repository.
"""

import functools
from pathlib import Path

import pytest

from pipeline.command_line import CommandParser
from pipeline.counter import count_video, load_counter
from pipeline.options import add_model_options
from tests.support.decoding import look_up
from transforms.records import VideoCount

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "cases"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the files in ../shared/cases, which are missing"),
]


@functools.cache
def counter():
    parser = CommandParser()
    add_model_options(parser)
    return load_counter(parser.parse_args([]))


@pytest.mark.parametrize(
    "name",
    [
        "base.mp4",
        "mjpeg_still_first.mov",
        "still_first.mp4",
        "time_jump.mkv",
        "time_jump_first.mp4",
        "time_jump_600s.mp4",
        "repeated_frames.ogv",
        "late_video.mkv",
    ],
)
def test_every_file_counts_eight_in_its_true_time_without_a_flag(name):
    result = count_video(look_up(FOLDER / name), counter())
    assert isinstance(result, VideoCount), result
    edges_sec = result.frame_edges_sec
    repeating_sec = sum(edges_sec[run.end_frame] - edges_sec[run.start_frame] for run in result.counted.segments)
    assert result.counted.count == pytest.approx(8, abs=0.5)
    assert 60 * result.counted.count / repeating_sec == pytest.approx(47, abs=3)
    assert result.facts.duration_sec == pytest.approx(10.7, abs=0.05)
    assert result.flags == ()
    assert result.facts.first_frame_sec == pytest.approx(6.0 if name == "late_video.mkv" else 0.0, abs=0.1)
