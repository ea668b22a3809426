"""Matching: finds the videos that patterns match. See `transforms.objects` for patterns. Does not import Beam."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

from model.errors import UserError
from transforms.objects import absolute, check_readable, list_objects
from transforms.records import VideoRef

VIDEO_SUFFIXES = (
    ".3g2",
    ".3gp",
    ".asf",
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
)
"""Lower-case suffixes by which an object that a wildcard matched counts as a video."""

_PROBED_OBJECTS = 100
"""Objects that `check_matches` looks at before it lists a large bucket whole."""

_T = TypeVar("_T")


class NoMatchError(UserError, ValueError):
    """A pattern matches no video, or cannot be listed."""


@dataclasses.dataclass(frozen=True)
class ListingFilter:
    """Filter applied to matched videos. Videos that do not pass are not part of the run.

    Attributes:
      updated_after: Earliest upload time (inclusive), with time zone; None for no limit.
      updated_before: Latest upload time (exclusive), with time zone; None for no limit.
      sample: Share of the videos to list, above 0 and at most 1. The choice depends on names alone: it is the same every time,
        and a larger sample contains a smaller one.
    """

    updated_after: datetime.datetime | None = None
    updated_before: datetime.datetime | None = None
    sample: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError if the sample is outside 0..1 or the two times leave nothing between them."""
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be above 0 and at most 1. Received: {self.sample}")
        if self.updated_after and self.updated_before and self.updated_after >= self.updated_before:
            raise ValueError(f"updated_before must be later than updated_after. Received: {self.updated_before}")

    def takes(self, video: VideoRef) -> bool:
        """Returns whether a video passes the filter."""
        if self.updated_after is not None and video.updated < self.updated_after:
            return False
        if self.updated_before is not None and video.updated >= self.updated_before:
            return False
        return self.sample == 1 or _hash_fraction(video.uri) < self.sample


def _hash_fraction(uri: str) -> float:
    """Returns an evenly distributed number in 0..1 (1 excluded) that depends on the URI alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(uri)).digest()[:6], "big") / 2**48


def list_videos(pattern: str, suffixes: Sequence[str] = VIDEO_SUFFIXES) -> Iterator[VideoRef]:
    """Yields the videos that a pattern matches, in the file system's order.

    Args:
      pattern: Path, directory or pattern, local or remote.
      suffixes: Lower-case suffixes that make an object a video. A pattern without a wildcard takes any suffix.

    Raises:
      ValueError: no file system has this scheme.
      BeamIOError: the file system cannot list the pattern.
    """
    return (video for video in list_objects(pattern) if is_wanted(video, pattern, suffixes))


def is_wanted(video: VideoRef, pattern: str, suffixes: Sequence[str]) -> bool:
    """Returns whether a matched object counts as a video: its name has a video's suffix, or the pattern names it exactly."""
    return video.uri.lower().endswith(tuple(suffixes)) or video.uri == absolute(pattern)


def check_matches(patterns: Iterable[str], suffixes: Sequence[str] = VIDEO_SUFFIXES) -> None:
    """Checks, before any worker starts, that each pattern matches at least one readable video.

    Raises:
      NoMatchError: a pattern matches no video. The message names the pattern and how many other objects it matched.
    """
    for pattern in patterns:
        check_any_matches(pattern, [pattern], suffixes)


def check_any_matches(
    template: str, patterns: Iterable[str], suffixes: Sequence[str] = VIDEO_SUFFIXES, on_any_day: Iterable[str] = ()
) -> bool:
    """Checks that at least one of several patterns matches a video, and that the first video found is readable.

    Args:
      template: Input as the user wrote it, such as `gs://gym/{date}/**`. Error messages quote it.
      patterns: Patterns made from the template.
      suffixes: Lower-case suffixes that make an object a video.
      on_any_day: Wider patterns. If no pattern matches a video but one of these does, that is no error.

    Returns:
      Whether one of `patterns` matches a video.

    Raises:
      NoMatchError: no pattern matches a video, a pattern cannot be listed, or the video cannot be read.
    """
    if not template:
        raise NoMatchError("an input is a file, a directory or a pattern such as DIR/**.mp4. Received: ''")
    others = 0
    wider = list(on_any_day)
    for pattern, is_wider in itertools.chain(zip(patterns, itertools.repeat(False)), zip(wider, itertools.repeat(True))):
        try:
            found = _find_video(pattern, suffixes)
            if isinstance(found, VideoRef):
                check_readable(found)
                return not is_wider
        except (OSError, ValueError) as error:
            raise NoMatchError(f"{textwrap.shorten(str(error), 300)} Received: {pattern!r}") from error
        others += found
    if others:
        raise NoMatchError(
            f"this input matches {others:,} objects, but none with a video's suffix ({' '.join(suffixes)}); "
            f"a file named without a wildcard is read whatever its suffix. Received: {template!r}"
        )
    when = " on any day" if wider else ""
    raise NoMatchError(f"this input matches nothing{when}; use a file, a directory or DIR/**.mp4. Received: {template!r}")


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yields items in lists of `size`; the last list may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _find_video(pattern: str, suffixes: Sequence[str]) -> VideoRef | int:
    """Returns the first video that a pattern matches, or the number of other objects if it matches no video."""
    for video in list_objects(pattern, limit=_PROBED_OBJECTS):
        if is_wanted(video, pattern, suffixes):
            return video
    others = 0
    for video in list_objects(pattern):
        if is_wanted(video, pattern, suffixes):
            return video
        others += 1
    return others
