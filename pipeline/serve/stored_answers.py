"""Answers from the tables: what a run, or this server, counted before under the same key."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from pipeline.count_formats import CURVE_FIELDS, count_record, failure_record
from pipeline.counted_video import CountedVideo
from transforms.failure_codes import FailureCode
from transforms.records import TimeSegment, VideoRef
from transforms.text import valid_text
from transforms.warehouse.base import Warehouse
from transforms.warehouse.rows import Provenance

COUNTED_ANEW = frozenset(
    (
        FailureCode.GONE,
        FailureCode.NOT_DELIVERED,
        FailureCode.READ_ERROR,
        FailureCode.DECODE_TIMEOUT,
        FailureCode.INCOMPLETE,
        FailureCode.TOO_LARGE,
        FailureCode.TOO_LONG,
        FailureCode.DECODE_OUT_OF_MEMORY,
    )
)
"""Stored failures that are no answer: the cause may be gone, or the limit of this server is another than that of the run.

WORKER_DIED is an answer, since a video that killed workers would kill the server. All others are in the file or the program.
"""

UNKNOWN_TIME = {"wall_sec": None}
"""What the record of a stored count has in the place of the time that counting took, which the tables do not have."""

_COUNT_COLUMNS = (
    "count",
    "confidence",
    "certainty",
    "flags",
    "stride",
    "stride_scores",
    "mean_period_sec",
    "mean_rate_hz",
    "repetition_times_sec",
    "segments",
    "duration_sec",
    "first_frame_sec",
    "fps",
    "width",
    "height",
    "codec",
)

_POINTS = {
    "times_sec": "time_sec",
    "curve": "count",
    "periodicity": "periodicity",
    "period_sec": "period_sec",
    "rate_hz": "rate_hz",
}
"""Field of `frame_curves.points` by name in `CURVE_FIELDS`."""

_KEY = """upload_date IN {dates} AND video_uri IN {uris} AND video_generation IN {generations}
    AND model = {model} AND options_hash = {options_hash}"""

_ANSWERS = f"""\
SELECT COALESCE(counted.video_uri, failed.video_uri) AS video_uri,
  COALESCE(counted.video_generation, failed.video_generation) AS video_generation,
  {", ".join(f"counted.{name} AS {name}" for name in _COUNT_COLUMNS)}, failed.code AS code, failed.message AS message
FROM (
  SELECT video_uri, video_generation, {", ".join(_COUNT_COLUMNS)} FROM {{dataset}}video_counts
  WHERE {_KEY}
) AS counted
FULL JOIN (
  SELECT video_uri, video_generation, code, message FROM {{dataset}}failures
  WHERE {_KEY}
) AS failed
ON counted.video_uri = failed.video_uri AND counted.video_generation = failed.video_generation
"""

_CURVES = f"SELECT video_uri, video_generation, points FROM {{dataset}}frame_curves WHERE {_KEY}"

_NOTHING: Mapping[str, Any] = {"count": None, "code": None}
"""What a video without a row has."""

Key = tuple[str, int]
"""URI and generation of a video, as its rows have them."""

Curve = dict[str, np.ndarray]
"""(num_frames,) float64 by name in `CURVE_FIELDS`."""

_NO_CURVE: Curve = {name: np.zeros(0) for name in CURVE_FIELDS}


def key_of(video: VideoRef) -> Key:
    """Returns the part of a row's key that names the video."""
    return valid_text(video.uri), video.generation


def read_answers(
    warehouse: Warehouse, provenance: Provenance, videos: Collection[VideoRef], with_curve: Collection[VideoRef] = ()
) -> dict[VideoRef, dict[str, Any]]:
    """Returns what the tables have of videos: records as `count_formats` makes them of videos counted now.

    Only rows with the model and options of `provenance` are answers. A video is left out if it has no row, if its failure is
    in `COUNTED_ANEW`, or if its curve is asked for and is not there.

    Args:
      warehouse: Tables to read.
      provenance: Model and options, which the records name.
      videos: Videos to look up.
      with_curve: Those of `videos` whose records have the values of each frame.

    Raises:
      WarehouseError: The tables cannot be read.
    """
    if not videos:
        return {}
    found = {
        (row["video_uri"], row["video_generation"]): row for row in warehouse.read_rows(_ANSWERS, _named(videos, provenance))
    }
    counted = [video for video in with_curve if found.get(key_of(video), _NOTHING)["count"] is not None]
    curves = dict(_read_curves(warehouse, provenance, counted)) if counted else {}
    records = {}
    for video in videos:
        row, curve = found.get(key_of(video), _NOTHING), curves.get(key_of(video))
        if row["count"] is not None:
            if video not in with_curve:
                records[video] = {**count_record(_to_counted(video, row, provenance, _NO_CURVE)), **UNKNOWN_TIME}
            elif curve is not None:
                records[video] = {**count_record(_to_counted(video, row, provenance, curve), with_curve=True), **UNKNOWN_TIME}
        elif row["code"] is not None and row["code"] not in COUNTED_ANEW:
            records[video] = failure_record(video.uri, row["code"], row["message"])
    return records


def _named(videos: Collection[VideoRef], provenance: Provenance) -> dict[str, Any]:
    """Returns the parameters of a query for videos."""
    return {
        "dates": sorted({video.updated.astimezone(datetime.UTC).date() for video in videos}),
        "uris": sorted({valid_text(video.uri) for video in videos}),
        "generations": sorted({video.generation for video in videos}),
        "model": provenance.model_key,
        "options_hash": provenance.options_hash,
    }


def _read_curves(warehouse: Warehouse, provenance: Provenance, videos: Sequence[VideoRef]) -> Iterator[tuple[Key, Curve]]:
    for batch in warehouse.read(_CURVES, _named(videos, provenance)):
        for index in range(batch.num_rows):
            points = batch.column("points")[index].values
            key = batch.column("video_uri")[index].as_py(), batch.column("video_generation")[index].as_py()
            yield key, {name: _floats(points.field(field)) for name, field in _POINTS.items()}


def _floats(values: pa.Array) -> np.ndarray:
    """Returns float64 values, with NaN for NULL."""
    return values.to_numpy(zero_copy_only=False).astype(np.float64)


def _to_counted(video: VideoRef, row: Mapping[str, Any], provenance: Provenance, curve: Curve) -> CountedVideo:
    return CountedVideo(
        video_uri=video.uri,
        count=row["count"],
        confidence=row["confidence"],
        certainty=row["certainty"],
        flags=tuple(row["flags"]),
        stride=row["stride"],
        stride_scores={item["stride"]: _number(item["score"]) for item in row["stride_scores"]},
        mean_period_sec=row["mean_period_sec"],
        mean_rate_hz=row["mean_rate_hz"],
        repetition_times_sec=np.array(row["repetition_times_sec"], np.float64),
        segments=tuple(TimeSegment(**segment) for segment in row["segments"]),
        duration_sec=_number(row["duration_sec"]),
        first_frame_sec=_number(row["first_frame_sec"]),
        fps=_number(row["fps"]),
        width=row["width"],
        height=row["height"],
        codec=row["codec"] or "",
        model=provenance.model,
        model_sha256=provenance.model_sha256,
        options=json.loads(provenance.options_json),
        **curve,
    )


def _number(value: float | None) -> float:
    """Returns a value of the tables, with NaN for NULL."""
    return math.nan if value is None else value
