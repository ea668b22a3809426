"""The figures that tell how far a run is, its pace, and how both are spelled."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

from transforms.records import Slice

_MEMORY = 0.98
"""What an arrival weighs at the next one. The last 50 arrivals matter: chunks, or videos, or half-seconds with many of them."""


@dataclasses.dataclass(frozen=True)
class Figures:
    """How far a run is, or one slice of it.

    Attributes:
      listed: Number of videos listed, without those left to later runs.
      skipped: Number of listed videos that the tables already have.
      done: Number of videos that are scored or failed, at most `selected`.
      failed: Number of videos that failed, at most `done`.
      frames: Number of scored frames, those of retries included.
    """

    listed: int
    skipped: int
    done: int
    failed: int
    frames: int

    @property
    def selected(self) -> int:
        """Number of videos to count."""
        return self.listed - self.skipped


@dataclasses.dataclass(frozen=True)
class WholeRun:
    """The run that a slice is part of.

    Attributes:
      part: The slice.
      num_videos: Number of videos to count in all slices.
      done: Number of videos in the slices before.
    """

    part: Slice
    num_videos: int
    done: int


class Rate:
    """A smoothed rate of something that arrives now and then, such as videos of very different lengths.

    It is a mean over the last arrivals, not over the last seconds. So it moves neither while a long video is scored nor jumps
    when it is done, but falls when nothing arrives for long.
    """

    def __init__(self, total: int, now_sec: float) -> None:
        """Starts at a time, with what arrived before it."""
        self._total = total
        self._last_sec = now_sec
        self._amount = self._seconds = 0.0

    def update(self, total: int, now_sec: float) -> None:
        """Takes how much has arrived up to now."""
        if total <= self._total:
            return
        self._amount = self._amount * _MEMORY + (total - self._total)
        self._seconds = self._seconds * _MEMORY + (now_sec - self._last_sec)
        self._total, self._last_sec = total, now_sec

    def per_sec(self, now_sec: float) -> float | None:
        """Returns the rate per second; None before the first arrival."""
        seconds = self._seconds + now_sec - self._last_sec
        return self._amount / seconds if self._amount and seconds > 0 else None


class Pace:
    """The rates of a run, from its first figures on.

    Attributes:
      videos_per_sec: Smoothed number of videos done per second. None before the first one.
      frames_per_sec: Smoothed number of frames scored per second. None before the first ones.
    """

    def __init__(self) -> None:
        self._videos: Rate | None = None
        self._frames: Rate | None = None
        self._ended = False
        self.videos_per_sec: float | None = None
        self.frames_per_sec: float | None = None

    def update(self, figures: Figures, now_sec: float) -> None:
        """Takes the figures of a moment. The pace stays as it was when the last video was done."""
        if self._ended:
            return
        self._ended = figures.done == figures.selected
        self._videos = self._videos or Rate(figures.done, now_sec)
        self._frames = self._frames or Rate(figures.frames, now_sec)
        self._videos.update(figures.done, now_sec)
        self._frames.update(figures.frames, now_sec)
        self.videos_per_sec = self._videos.per_sec(now_sec)
        self.frames_per_sec = self._frames.per_sec(now_sec)

    def left(self, num_videos: int) -> str:
        """Returns the time that some more videos take, such as "0:12:31 left"; "" if it is unknown, or there are none."""
        if not num_videos or self.videos_per_sec is None:
            return ""
        minutes, seconds = divmod(round(num_videos / self.videos_per_sec), 60)
        return f"{minutes // 60:,}:{minutes % 60:02}:{seconds:02} left"

    def spelled(self) -> list[str]:
        """Returns the known rates."""
        rates = []
        if self.videos_per_sec is not None:
            rates.append(_per_time(self.videos_per_sec, "videos"))
        if self.frames_per_sec is not None:
            rates.append(_per_time(self.frames_per_sec, "frames"))
        return rates


def progress_line(figures: Figures, pace: Pace, whole: WholeRun | None = None) -> str:
    """Returns how far a run is, in one line for a log.

    Args:
      figures: Figures of the run, or of its slice.
      pace: The run's pace.
      whole: The run that the slice is part of. None for a run without slices.
    """
    remaining = figures.selected - figures.done
    parts = [
        f"{figures.done:,} of {figures.selected:,} videos done",
        f"{figures.failed:,} failed",
        *pace.spelled(),
        pace.left(remaining),
    ]
    line = ", ".join(filter(None, parts))
    if whole is None:
        return line
    done = whole.done + figures.done
    all_parts = [f"{done:,} of {whole.num_videos:,} videos done", pace.left(whole.num_videos - done)]
    return f"Slice {whole.part.number} of {whole.part.total}: {line}; all slices: {', '.join(filter(None, all_parts))}"


def flow(parts: Iterable[str], width: int) -> list[str]:
    """Returns lines of parts with " · " between them, none longer than `width` characters unless a part is."""
    lines: list[str] = []
    for part in parts:
        if lines and len(lines[-1]) + 3 + len(part) <= width:
            lines[-1] += f" · {part}"
        else:
            lines.append(part)
    return lines


def _per_time(per_sec: float, things: str) -> str:
    """Spells a rate per second, minute or hour, whichever gives a number that people can read."""
    units = ((1, "s"), (60, "min"), (3600, "h"))
    seconds, unit = next((unit for unit in units if per_sec * unit[0] >= 0.95), units[-1])
    value = per_sec * seconds
    return f"{value:,.0f} {things}/{unit}" if value >= 9.95 else f"{value:.1f} {things}/{unit}"
