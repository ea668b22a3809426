"""Counts with the shipped model, as `repcount count` does by default."""

from pathlib import Path

from pipeline.command_line import CommandParser
from pipeline.counter import count_video, load_counter
from pipeline.labels import read_labels
from pipeline.options import add_model_options
from transforms.matching import list_videos
from transforms.records import VideoCount


def count_against_truth(videos, truth, *options):
    """Counts every video of a folder.

    Args:
      videos: Folder with the videos.
      truth: CSV file with the columns `file` and `count`.
      *options: Options of `repcount count`.

    Returns:
      {file: (count, true count)}. Folder and CSV must name the same files.
    """
    parser = CommandParser()
    add_model_options(parser)
    counter = load_counter(parser.parse_args(list(options)))
    true_counts = {label.file: label.true_count for label in read_labels(str(truth))}
    counts = {}
    for video in list_videos(str(videos)):
        result = count_video(video, counter)
        assert isinstance(result, VideoCount), result
        name = Path(video.uri).name
        counts[name] = (result.counted.count, true_counts.pop(name))
    assert not true_counts
    return counts
