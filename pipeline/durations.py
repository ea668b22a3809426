"""Estimates how long videos are that nobody has counted: from counted videos of similar size, or from headers of a sample."""

from __future__ import annotations

import dataclasses
import math
import statistics
from collections.abc import Collection, Iterable, Mapping

from transforms.warehouse.base import EarlierRuns

TYPICAL_BYTES_PER_SEC = 750_000
"""Bytes per second of a phone's video, 6 Mbit/s. Used where neither counted videos nor headers tell."""

MAX_HEADERS = 20
"""Most headers that are read for an estimate."""

_ENOUGH_COUNTED = 20
"""Counted videos of a size class whose mean is trusted without a look at headers."""

_NEAR_CLASSES = 1
"""Most size classes between videos and counted ones of similar size."""

_NEIGHBOURS = 5
"""Headers nearest in size, itself among them, with which a header is compared."""

_MOST_TIMES = 8.0
"""Most times that a header's seconds per byte may differ from the median of its neighbours."""


@dataclasses.dataclass(frozen=True)
class Basis:
    """What an estimated duration rests on.

    Attributes:
      known_videos: Number of videos whose duration the tables know from another count.
      known_sec: Total duration in seconds of those videos.
      tried_headers: Number of videos whose header was looked at.
      read_headers: Number of those headers that could be read and name a duration.
      header_videos: Number of videos whose duration is estimated from these headers.
      counted_videos: Number of counted videos from whose size and duration others are estimated.
      assumed_videos: Number of videos whose bytes per second are assumed.
    """

    known_videos: int = 0
    known_sec: float = 0.0
    tried_headers: int = 0
    read_headers: int = 0
    header_videos: int = 0
    counted_videos: int = 0
    assumed_videos: int = 0

    def __str__(self) -> str:
        """Returns what to print behind the estimate; "" if there is nothing to estimate."""
        others = []
        if self.counted_videos:
            others.append(f"from {self.counted_videos:,} counted videos of similar size")
        if self.header_videos:
            unread = self.tried_headers - self.read_headers
            rest = f", {unread:,} more could not be read" if unread else ""
            others.append(f"from {self.read_headers:,} of {self.header_videos:,} headers{rest}")
        elif self.assumed_videos:
            others.append("assumed 6 Mbit/s: no header could be read")
        elif self.tried_headers:
            others.append("no header could be read")
        if not self.known_videos:
            return "; ".join(others)
        known = f"of {self.known_videos:,} videos known, {self.known_sec / 60:,.1f} min"
        return "; the others ".join([known, "; ".join(others)] if others else [known])


@dataclasses.dataclass(frozen=True)
class SizeClass:
    """Videos of unknown duration and similar size. Class n has 2**n to 2**(n + 1) - 1 bytes, as in `EarlierRuns`.

    Attributes:
      videos: Number of the videos.
      size_bytes: Their total size in bytes.
    """

    videos: int
    size_bytes: int


def size_class_of(size_bytes: int) -> int:
    """Returns the class of a size, as in `EarlierRuns.bytes_per_sec`; that of one byte for an empty file."""
    return max(size_bytes, 1).bit_length() - 1


def bytes_per_sec(earlier: EarlierRuns, size_class: int) -> float:
    """Returns the mean bytes per second of counted videos of a similar size: of the nearest class that has any."""
    if not earlier.bytes_per_sec:
        return TYPICAL_BYTES_PER_SEC
    return earlier.bytes_per_sec[_nearest(earlier.bytes_per_sec, size_class)]


def is_known(earlier: EarlierRuns, size_class: int) -> bool:
    """Returns whether enough videos of a similar size are counted to tell how long those of a class are."""
    if not earlier.bytes_per_sec:
        return False
    nearest = _nearest(earlier.bytes_per_sec, size_class)
    return abs(nearest - size_class) <= _NEAR_CLASSES and earlier.num_videos[nearest] >= _ENOUGH_COUNTED


def choose_headers(videos: Mapping[int, int], total: int = MAX_HEADERS) -> dict[int, int]:
    """Returns how many headers of each size class to read: at least one of each, and the more the more videos it has.

    Args:
      videos: Number of videos in each class.
      total: Most headers to read. If there are more classes, those with the most videos are looked at.
    """
    largest = sorted(videos, key=lambda size_class: (-videos[size_class], size_class))[:total]
    chosen = dict.fromkeys(largest, 1)
    for _ in range(min(total, sum(videos[size_class] for size_class in largest)) - len(largest)):
        left = [size_class for size_class in largest if chosen[size_class] < videos[size_class]]
        chosen[max(left, key=lambda size_class: videos[size_class] / chosen[size_class])] += 1
    return chosen


def estimate_durations(
    classes: Mapping[int, SizeClass], earlier: EarlierRuns, headers: Collection[tuple[int, float]], basis: Basis
) -> tuple[float, Basis]:
    """Returns the estimated total duration in seconds of videos, and what it rests on.

    Args:
      classes: The videos, by size class.
      earlier: What the tables know of counted videos.
      headers: Size in bytes and declared duration in seconds of each header that was read.
      basis: What is known already; the result adds to it.
    """
    rates = _sec_per_byte(headers)
    video_sec, header_videos, assumed_videos = 0.0, 0, 0
    counted: set[int] = set()
    for size_class, found in classes.items():
        if rates and not is_known(earlier, size_class):
            video_sec += found.size_bytes * rates[_nearest(rates, size_class)]
            header_videos += found.videos
            continue
        video_sec += found.size_bytes / bytes_per_sec(earlier, size_class)
        if earlier.bytes_per_sec:
            counted.add(_nearest(earlier.bytes_per_sec, size_class))
        else:
            assumed_videos += found.videos
    counted_videos = sum(earlier.num_videos[size_class] for size_class in counted)
    return video_sec, dataclasses.replace(
        basis,
        read_headers=len(headers),
        header_videos=header_videos,
        counted_videos=counted_videos,
        assumed_videos=assumed_videos,
    )


def _sec_per_byte(headers: Collection[tuple[int, float]]) -> dict[int, float]:
    """Returns the mean seconds per byte of each size class that has headers.

    Files may declare any duration, and clocks that jump declare hours. So each header is first brought near the median of those
    nearest in size. Of three or more in a class, the highest and the lowest are left out.

    Args:
      headers: Size in bytes and declared duration in seconds of each header.
    """
    rates = [(math.log(size_bytes), math.log(sec / size_bytes)) for size_bytes, sec in headers]
    by_class: dict[int, list[float]] = {}
    for (size_bytes, _), (size, rate) in zip(headers, rates, strict=True):
        nearest = sorted(rates, key=lambda other: abs(other[0] - size))[:_NEIGHBOURS]
        middle = statistics.median(other for _, other in nearest)
        near = min(max(rate, middle - math.log(_MOST_TIMES)), middle + math.log(_MOST_TIMES))
        by_class.setdefault(size_class_of(size_bytes), []).append(math.exp(near))
    return {
        size_class: statistics.fmean(sorted(found)[1:-1] if len(found) > 2 else found) for size_class, found in by_class.items()
    }


def _nearest(classes: Iterable[int], size_class: int) -> int:
    return min(classes, key=lambda known: (abs(known - size_class), known))
