"""The annotated videos of `repcount count --annotate`: each video once more, with its count drawn on it."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import BinaryIO

import numpy as np

from model.replacing import replacing
from transforms.annotation.process import AnnotatorProcess
from transforms.annotation.timeline import Timeline
from transforms.decoding.local_copy import check_unchanged, open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError
from transforms.records import VideoCount
from transforms.text import printable

SUFFIXES = (".mp4",)
"""Suffixes of an annotated video."""


class Annotator:
    """Annotates counted videos, one after the other."""

    def __init__(self, paths: Mapping[str, Path]) -> None:
        """Starts nothing yet.

        Args:
          paths: The file to write for each video, by its URI; one that exists is replaced.
        """
        self._paths = paths
        self._process = AnnotatorProcess()

    def annotate(self, result: VideoCount, options: DecodingOptions) -> bool:
        """Writes the annotated video, completely or not at all.

        A sound that is left out, and a video that cannot be annotated, is a line on standard error.

        Args:
          result: The counted video.
          options: How it was decoded.

        Returns:
          Whether the file was written.

        Raises:
          OSError: It cannot be written.
        """
        video, path = result.video, self._paths[result.video.uri]
        try:
            with replacing(path) as partial, partial.open("xb") as output:
                left_out = self._write(result, options, output)
        except DecodeError as error:
            print(f"repcount count: {printable(video.uri)}: not annotated: {printable(error.message)}", file=sys.stderr)
            return False
        if left_out:
            print(f"repcount count: {printable(str(path))} has no sound: MP4 does not take {left_out}", file=sys.stderr)
        return True

    def _write(self, result: VideoCount, options: DecodingOptions, output: BinaryIO) -> str:
        """Annotates a video into an open file; returns the codec of a sound that was left out, else ""."""
        fault: OSError | None = None
        left_out = ""
        with open_video(result.video, options.max_bytes, options.billing_project) as file:
            try:
                left_out = self._process.annotate(file, timeline_of(result), options, output)
            except OSError as error:  # a fault of the output, which `open_video` would take for one of the video
                fault = error
            check_unchanged(result.video, file)
        if fault is not None:
            raise fault
        return left_out

    def close(self) -> None:
        """Ends the process."""
        self._process.close()


def timeline_of(result: VideoCount) -> Timeline:
    """Returns what to show of a counted video."""
    counted = result.counted
    return Timeline(
        times_sec=result.times_sec,
        curve=np.cumsum(counted.per_frame_count),
        periodicity=np.asarray(counted.periodicity, np.float64),
        repetition_times_sec=result.repetition_times_sec,
        segments_sec=np.array([(segment.start_sec, segment.end_sec) for segment in result.segments]).reshape(-1, 2),
    )
