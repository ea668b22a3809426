"""Subtitles whose text is the number of the repetition, as SubRip (.srt) and WebVTT (.vtt)."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable, Sequence

_LAST_SHOWN_SEC = 0.5
"""How long before the video's end the last number appears at the latest. Else nobody would see it."""


@dataclasses.dataclass(frozen=True)
class Cue:
    """A subtitle.

    Attributes:
      number: Number of the repetition, from 1.
      start_ms: Time in milliseconds at which it appears.
      end_ms: Time in milliseconds at which it disappears, above `start_ms`.
    """

    number: int
    start_ms: int
    end_ms: int


def repetition_cues(
    repetition_times_sec: Sequence[float], duration_sec: float, first_frame_sec: float = 0.0
) -> tuple[Cue, ...]:
    """Returns a cue per repetition. It appears when its repetition is complete, and stays until the next one is.

    So a player shows the running count. The last number stays until the video ends. If its repetition is complete just before
    the end, it appears half a second before, but not before it is halfway done. Of repetitions that are complete within the
    same millisecond, only the last one has a cue.

    Args:
      repetition_times_sec: Times in seconds at which repetitions 1, 2, 3 … are complete, ascending.
      duration_sec: Duration of the video in seconds.
      first_frame_sec: Time in a player, in seconds, at which the first frame appears.
    """
    if not len(repetition_times_sec):
        return ()
    starts = [float(time) for time in repetition_times_sec]
    before = starts[-2] if len(starts) > 1 else 0.0
    starts[-1] = min(starts[-1], max(duration_sec - _LAST_SHOWN_SEC, (before + starts[-1]) / 2))
    edges_ms = [round(1000 * (first_frame_sec + time)) for time in (*starts, max(duration_sec, starts[-1] + 0.001))]
    spans = itertools.pairwise(edges_ms)
    return tuple(Cue(number, start, end) for number, (start, end) in enumerate(spans, start=1) if end > start)


def to_srt(cues: Iterable[Cue]) -> str:
    """Returns cues as SubRip text; "" for none."""
    blocks = enumerate(cues, start=1)
    return "".join(
        f"{index}\n{_time(cue.start_ms, ',')} --> {_time(cue.end_ms, ',')}\n{cue.number}\n\n" for index, cue in blocks
    )


def to_vtt(cues: Iterable[Cue]) -> str:
    """Returns cues as WebVTT text; its header alone for none."""
    return "WEBVTT\n\n" + "".join(f"{_time(cue.start_ms, '.')} --> {_time(cue.end_ms, '.')}\n{cue.number}\n\n" for cue in cues)


def _time(milliseconds: int, mark: str) -> str:
    seconds, milliseconds = divmod(milliseconds, 1000)
    return f"{seconds // 3600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}{mark}{milliseconds:03}"
