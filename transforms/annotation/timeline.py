"""What an annotated video shows at each time: count, progress of the repetition, rate and periodicity. Needs NumPy only."""

from __future__ import annotations

import dataclasses
import math

import numpy as np

_RATE_SEC = 4.0
"""Seconds of a set over which its rate is averaged, so that the number shown is calm."""

_RATE_STEP_SEC = 0.5
"""Seconds for which a rate stays as it is."""

_PARTS = ("times_sec", "curve", "periodicity", "repetition_times_sec", "segments_sec")


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a frame shows.

    Attributes:
      count: Number of repetitions that are complete.
      progress: Share of the next repetition that is done, 0..1.
      per_minute: Repetitions a minute, rounded; None while nothing repeats.
      periodicity: Periodicity score, 0..1.
    """

    count: int
    progress: float
    per_minute: int | None
    periodicity: float


@dataclasses.dataclass(frozen=True, eq=False)
class Timeline:
    """The result of counting a video, by time.

    All times are seconds since the video's first frame.

    Attributes:
      times_sec: (n,) float64, ascending, the times of the counted frames.
      curve: (n,) float64, repetitions up to and including each frame.
      periodicity: (n,) float64, score of each frame, 0..1.
      repetition_times_sec: (count_rounded,) float64, ascending, when repetitions 1, 2, 3 … are complete.
      segments_sec: (num_segments, 2) float64, start and end of each set of repetitions.
    """

    times_sec: np.ndarray
    curve: np.ndarray
    periodicity: np.ndarray
    repetition_times_sec: np.ndarray
    segments_sec: np.ndarray

    def at(self, time_sec: float) -> Shown:
        """Returns what to show at a time in seconds; before the first frame and after the last one, what these show."""
        count = int(np.searchsorted(self.repetition_times_sec, time_sec, side="right"))
        frame = int(np.clip(np.searchsorted(self.times_sec, time_sec, side="right") - 1, 0, len(self.times_sec) - 1))
        return Shown(count, self._progress(time_sec, count), self._per_minute(time_sec), float(self.periodicity[frame]))

    def _progress(self, time_sec: float, count: int) -> float:
        """Returns how far the curve has come from the last repetition to the next one; it stays where nothing repeats."""
        before = self._curve_at(self.repetition_times_sec[count - 1]) if count else 0.0
        is_last = count == len(self.repetition_times_sec)
        after = before + 1 if is_last else self._curve_at(self.repetition_times_sec[count])
        done = (self._curve_at(time_sec) - before) / (after - before) if after > before else 0.0
        return min(max(done, 0.0), 1.0)

    def _per_minute(self, time_sec: float) -> int | None:
        """Returns the rate around a time within its set; None outside of all sets."""
        inside = np.flatnonzero((self.segments_sec[:, 0] <= time_sec) & (time_sec < self.segments_sec[:, 1]))
        if not len(inside):
            return None
        start_sec, end_sec = self.segments_sec[inside[0]]
        middle_sec = math.floor(time_sec / _RATE_STEP_SEC) * _RATE_STEP_SEC
        first_sec = min(max(start_sec, middle_sec - _RATE_SEC / 2), max(start_sec, end_sec - _RATE_SEC))
        last_sec = min(end_sec, first_sec + _RATE_SEC)
        if last_sec <= first_sec:
            return None
        return round(60 * (self._curve_at(last_sec) - self._curve_at(first_sec)) / (last_sec - first_sec))

    def _curve_at(self, time_sec: float) -> float:
        """Returns the curve at a time. A frame's share accrues from its time to that of the next frame."""
        num_frames = len(self.times_sec)
        step_sec = (self.times_sec[-1] - self.times_sec[0]) / (num_frames - 1) if num_frames > 1 else 1.0
        after = int(np.searchsorted(self.times_sec, time_sec, side="right"))
        if after == 0:
            return 0.0
        start_sec = self.times_sec[after - 1]
        end_sec = self.times_sec[after] if after < num_frames else start_sec + step_sec
        before = self.curve[after - 2] if after > 1 else 0.0
        share = min((time_sec - start_sec) / (end_sec - start_sec), 1.0) if end_sec > start_sec else 1.0
        return float(before + share * (self.curve[after - 1] - before))

    def to_bytes(self) -> bytes:
        """Returns the timeline as bytes for `from_bytes`."""
        parts = [np.asarray(getattr(self, name), np.float64).ravel() for name in _PARTS]
        return np.concatenate([np.array([len(part) for part in parts], np.float64), *parts]).tobytes()

    @classmethod
    def from_bytes(cls, content: bytes) -> Timeline:
        """Returns the timeline that `to_bytes` has written."""
        numbers = np.frombuffer(content, np.float64)
        lengths, values = numbers[: len(_PARTS)].astype(int), numbers[len(_PARTS) :]
        parts = dict(zip(_PARTS, np.split(values, np.cumsum(lengths)[:-1]), strict=True))
        return cls(**{**parts, "segments_sec": parts["segments_sec"].reshape(-1, 2)})
