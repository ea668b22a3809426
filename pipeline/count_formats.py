"""The texts that `repcount count` writes for a video: JSON, CSV and subtitles."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from pipeline.counted_video import CountedVideo, describe
from pipeline.counter import Counter
from pipeline.subtitles import repetition_cues, to_srt, to_vtt
from transforms.records import Failure, VideoCount
from transforms.text import printable

TEXT_FORMATS = ("json", "csv", "srt", "vtt")
"""Formats of `--format` besides the table. Each is the suffix of its files, too."""

SUBTITLE_FORMATS = ("srt", "vtt")
"""Formats that have nothing to say of a video that failed."""

CURVE_FIELDS = ("times_sec", "curve", "periodicity", "period_sec", "rate_hz")
"""Fields of `CountedVideo` with a value for each frame."""

CSV_COLUMNS = (
    "video_uri",
    "status",
    "count_rounded",
    "count",
    "confidence",
    "certainty",
    "rate_per_minute",
    "mean_period_sec",
    "num_segments",
    "first_start_sec",
    "last_end_sec",
    "duration_sec",
    "flags",
    "code",
    "message",
    "width",
    "height",
    "fps",
    "codec",
    "stride",
    "model",
    "model_sha256",
    "wall_sec",
    "repetition_times_sec",
)
"""Columns of the CSV."""

_DECIMALS = 6
FORMULA_MARKS = ("=", "+", "-", "@", "\t", "\r")
"""Starts of texts that spreadsheets run as formulas. File names and metadata of videos come from strangers."""


@dataclasses.dataclass(frozen=True, eq=False)
class Outcome:
    """What became of a video.

    Attributes:
      result: Its count or its failure.
      counter: Model and options that counted it.
      wall_sec: Seconds that decoding and counting took.
    """

    result: VideoCount | Failure
    counter: Counter
    wall_sec: float


def to_text(outcome: Outcome, text_format: str, with_curve: bool = False, with_header: bool = True) -> str | None:
    """Returns the text of a video, with a line break at its end. None for the subtitles of a video that failed.

    Args:
      outcome: What became of the video.
      text_format: One of `TEXT_FORMATS`.
      with_curve: Whether JSON has the values of each frame.
      with_header: Whether CSV begins with its header.
    """
    if text_format == "json":
        return json.dumps(json_record(outcome, with_curve), allow_nan=False) + "\n"
    if text_format == "csv":
        return _csv(csv_record(outcome), with_header)
    if isinstance(outcome.result, Failure):
        return None
    facts = outcome.result.facts
    cues = repetition_cues(outcome.result.repetition_times_sec.tolist(), facts.duration_sec, facts.first_frame_sec)
    return to_srt(cues) if text_format == "srt" else to_vtt(cues)


def json_record(outcome: Outcome, with_curve: bool = False) -> dict[str, Any]:
    """Returns what JSON has of a video; numbers have six decimals. The names are those of `CountedVideo`."""
    result = outcome.result
    if isinstance(result, Failure):
        return failure_record(result.video.uri, result.code.value, result.message)
    record, wall_sec = count_record(describe(result, outcome.counter), with_curve), _plain(outcome.wall_sec)
    curve = {name: record.pop(name) for name in CURVE_FIELDS if with_curve}
    return {**record, "wall_sec": wall_sec, **curve}


def failure_record(video_uri: str, code: str, message: str) -> dict[str, Any]:
    """Returns what JSON has of a video that could not be counted."""
    missing = dict.fromkeys(("count", "count_rounded", "confidence", "certainty", "stride"))
    return {"video_uri": video_uri, **missing, "status": "failed", "code": code, "message": message}


def count_record(counted: CountedVideo, with_curve: bool = False) -> dict[str, Any]:
    """Returns what JSON has of a counted video, but for the time that counting took."""
    record = {
        "video_uri": counted.video_uri,
        "count": counted.count,
        "count_rounded": counted.count_rounded,
        "confidence": counted.confidence,
        "certainty": counted.certainty,
        "stride": counted.stride,
        "status": "counted",
        "flags": counted.flags,
        "mean_period_sec": counted.mean_period_sec,
        "mean_rate_hz": counted.mean_rate_hz,
        "repetition_times_sec": counted.repetition_times_sec,
        "segments": [
            {**dataclasses.asdict(segment), "rate_hz": segment.rate_hz, "rate_per_minute": segment.rate_per_minute}
            for segment in counted.segments
        ],
        "stride_scores": counted.stride_scores,
        "duration_sec": counted.duration_sec,
        "first_frame_sec": counted.first_frame_sec,
        "fps": counted.fps,
        "width": counted.width,
        "height": counted.height,
        "codec": counted.codec,
        "model": counted.model,
        "model_sha256": counted.model_sha256,
    }
    curve = {name: getattr(counted, name) for name in CURVE_FIELDS} if with_curve else {}
    return {**_plain(record), "options": counted.options, **_plain(curve)}


def csv_record(outcome: Outcome) -> dict[str, Any]:
    """Returns the cells of a video by column; columns without a value are left out."""
    result = outcome.result
    if isinstance(result, Failure):
        return {
            "video_uri": result.video.uri,
            "status": "failed",
            "code": result.code.value,
            "message": result.message,
            "wall_sec": outcome.wall_sec,
        }
    counted = describe(result, outcome.counter)
    return {
        **{name: value for name in CSV_COLUMNS if (value := getattr(counted, name, None)) is not None},
        **_segment_cells(counted),
        "status": "counted",
        "flags": " ".join(counted.flags),
        "repetition_times_sec": " ".join(f"{time:.3f}" for time in counted.repetition_times_sec),
        "wall_sec": outcome.wall_sec,
    }


def _segment_cells(counted: CountedVideo) -> dict[str, Any]:
    cells: dict[str, Any] = {"num_segments": len(counted.segments)}
    if counted.segments:
        cells |= {"first_start_sec": counted.segments[0].start_sec, "last_end_sec": counted.segments[-1].end_sec}
    if counted.mean_rate_hz is not None:
        cells["rate_per_minute"] = 60.0 * counted.mean_rate_hz
    return cells


def _csv(record: Mapping[str, Any], with_header: bool) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, CSV_COLUMNS, lineterminator="\n")
    if with_header:
        writer.writeheader()
    writer.writerow({name: _cell(value) for name, value in record.items()})
    return text.getvalue()


def _cell(value: Any) -> Any:
    """Returns a value as a cell. A name cannot break the line, and a spreadsheet does not compute it."""
    if isinstance(value, str):
        text = printable(value)
        return f"'{text}" if value.startswith(FORMULA_MARKS) else text
    return _plain(value)


def _plain(value: Any) -> Any:
    """Returns a value as JSON has it: arrays as lists, floats with six decimals, and None for NaN and infinity."""
    if isinstance(value, np.ndarray):
        return _plain(value.tolist())
    if isinstance(value, Mapping):
        return {str(name): _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float):
        return round(float(value), _DECIMALS) if math.isfinite(value) else None
    return value
