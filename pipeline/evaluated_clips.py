"""Labelled videos, and what was counted for them."""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Sequence

import numpy as np

from pipeline import evaluation_plot
from pipeline.command_line import UsageError
from pipeline.counter import Counter, count_video
from pipeline.evaluation_plot import ClipCurves
from pipeline.labels import Label, quote
from pipeline.progress_display import show_status
from transforms.matching import list_videos
from transforms.objects import find_object
from transforms.records import VideoCount, VideoRef, VideoResult

_NAMED_FILES = 3
"""Number of missing files that a message names."""


@dataclasses.dataclass(frozen=True)
class LabelledVideo:
    """A video, or a part of one, with a known count.

    Attributes:
      label: True count, and the part that it is of.
      video: The file in the folder.
    """

    label: Label
    video: VideoRef


@dataclasses.dataclass(frozen=True)
class Clip:
    """The result for a labelled video.

    Attributes:
      label: True count, and the part that it is of.
      result: Count or failure.
    """

    label: Label
    result: VideoResult

    @property
    def error(self) -> float | None:
        """The count minus the true count. None if the video failed."""
        return None if self.result.count is None else self.result.count - self.label.true_count

    @property
    def sort_key(self) -> tuple[float, str]:
        """Sorts failed videos first, then by the size of the error, largest first."""
        return -math.inf if self.error is None else -abs(self.error), self.label.name


def find_labelled(labels: Sequence[Label], folder: str) -> list[LabelledVideo]:
    """Returns the labelled videos of a folder; raises UsageError if it is not a local folder, or lacks one of them."""
    if not os.path.isdir(folder):
        raise UsageError(f"--videos must be a folder on this machine. Received: {folder!r}")
    files = dict.fromkeys(label.file for label in labels)
    try:
        found = {file: find_object(os.path.join(os.path.abspath(folder), file)) for file in files}
    except OSError as error:
        raise UsageError(f"every labelled file must be readable: {error.strerror}. Received: {error.filename!r}") from error
    missing = [file for file, video in found.items() if video is None]
    if missing:
        named = ", ".join(map(quote, missing[:_NAMED_FILES])) + (", …" if len(missing) > _NAMED_FILES else "")
        raise UsageError(
            f"every labelled file must be in the folder {folder!r}; {len(missing):,} of {len(files):,} are missing. "
            f"Received: {named}"
        )
    return [LabelledVideo(label, video) for label in labels if (video := found[label.file]) is not None]


def count_unlabelled(labelled: Sequence[LabelledVideo], folder: str) -> int:
    """Returns the number of videos in a folder that have no label."""
    return len({video.uri for video in list_videos(folder)} - {known.video.uri for known in labelled})


def count_labelled(labelled: Sequence[LabelledVideo], counter: Counter, num_worst: int) -> tuple[list[Clip], list[ClipCurves]]:
    """Counts videos, one after the other.

    Args:
      labelled: Videos to count.
      counter: Model and options.
      num_worst: Number of counted videos whose curves are kept: those with the largest errors.

    Returns:
      The results of all videos and the kept curves, both sorted by `Clip.sort_key`.
    """
    clips: list[Clip] = []
    worst: list[tuple[Clip, ClipCurves]] = []
    with show_status() as update:
        for number, known in enumerate(labelled, start=1):
            update(f"Counting {known.label.name} ({number} of {len(labelled)})")
            counted = count_video(known.video, _for_part(counter, known.label))
            result = VideoResult.of(counted)
            if isinstance(counted, VideoCount):  # decoding a part begins at the video's start
                result = dataclasses.replace(result, duration_sec=float(np.ptp(counted.frame_edges_sec)))
            clip = Clip(known.label, result)
            clips.append(clip)
            if isinstance(counted, VideoCount):
                worst.append((clip, evaluation_plot.take_curves(known.label.name, known.label.true_count, counted)))
                worst = sorted(worst, key=lambda item: item[0].sort_key)[:num_worst]
    return sorted(clips, key=lambda clip: clip.sort_key), [curves for _, curves in worst]


def _for_part(counter: Counter, label: Label) -> Counter:
    """Returns the counter for the part of a video that a label is of."""
    decoding = dataclasses.replace(
        counter.decoding,
        start_sec=label.start_sec,
        end_sec=label.end_sec,
        start_frame=label.start_frame,
        end_frame=label.end_frame,
    )
    return dataclasses.replace(counter, decoding=decoding)
