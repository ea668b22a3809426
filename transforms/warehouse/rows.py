"""Converts records to rows of the tables, and checks every row against the schema before it is written."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import math
import numbers
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from model.frame_counts import rounded_count
from transforms.coders import VideoRefCoder
from transforms.records import Failure, VideoCount, VideoRef, slice_hash
from transforms.text import valid_text
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.schema import FRAME_CURVES, LISTING, Column, ColumnType, Mode, Table

Row = dict[str, Any]
"""Values by column name. The items of a REPEATED STRUCT column may be one `pa.StructArray`."""

_PYTHON_TYPES: dict[ColumnType, Any] = {
    ColumnType.STRING: str,
    ColumnType.INT64: numbers.Integral,
    ColumnType.FLOAT64: numbers.Real,
    ColumnType.DATE: datetime.date,
    ColumnType.TIMESTAMP: datetime.datetime,
}
"""Allowed Python types of a value. Arrow alone would truncate 1.5 to 1 and accept bytes as text."""

_FIRST_CAPTURE = datetime.datetime(1990, 1, 1, tzinfo=datetime.UTC)
"""Earliest plausible time of a recording. Clocks that were never set say 1904 in QuickTime files, and 1970."""

_CAPTURE_AFTER_UPLOAD = datetime.timedelta(days=1)
_LAST_UPLOAD = datetime.datetime(9999, 12, 30, tzinfo=datetime.UTC)
"""How long after its upload a video may claim to be recorded: clocks and time zones of phones are wrong."""

_RUN_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")


class RowError(ValueError):
    """The schema does not allow a row. The message names the column and the reason."""


@dataclasses.dataclass(frozen=True)
class Provenance:
    """The run, model and options that every row of a run records.

    Attributes:
      run_id: Identifier of the run: at most 128 letters, digits, '-', '_' and '.', since files are named by it.
      run_started: Time at which the run started, with its time zone. The row of the later run wins.
      model: Name of the preset, or path of the checkpoint. Part of a row's key.
      model_sha256: SHA-256 of the model's configuration and weights, in hexadecimal.
      options_json: Options that affect the counts, as returned by `canonical_json`. Their hash is part of a row's key.
      code_version: Version of repcount.
      precision: Number format of the network: float32, bfloat16, float16 or int8.
      name_labels: How videos get the labels in their rows. They decide no number, so they are not among the options.
    """

    run_id: str
    run_started: datetime.datetime
    model: str
    model_sha256: str
    options_json: str
    code_version: str
    precision: str
    name_labels: NameLabels = dataclasses.field(default_factory=NameLabels)

    def __post_init__(self) -> None:
        """Raises ValueError if `run_id` cannot be part of a file name, or `run_started` has no time zone."""
        if not _RUN_ID.fullmatch(self.run_id):
            raise ValueError(f"run_id must be at most 128 letters, digits, '-', '_' and '.'. Received: {self.run_id!r}")
        if self.run_started.tzinfo is None:
            raise ValueError(f"run_started must have a time zone. Received: {self.run_started!r}")

    @property
    def model_key(self) -> str:
        """The model as in the key of a row."""
        return valid_text(self.model)

    @property
    def options_hash(self) -> str:
        """First 16 hexadecimal digits of the SHA-256 of `options_json`."""
        return _hash(self.options_json)


@dataclasses.dataclass(frozen=True)
class RunTotals:
    """How many videos a run listed, counted, failed and skipped.

    Attributes:
      listed: Number of videos listed, without those left to later runs.
      counted: Number of videos counted.
      failed: Number of videos that could not be counted.
      skipped: Number of videos skipped because the tables already had them.
      scored_frames: Total number of scored frames of all counted videos.
      video_sec: Total duration in seconds of all counted videos.
    """

    listed: int
    counted: int
    failed: int
    skipped: int
    scored_frames: int
    video_sec: float

    @property
    def is_balanced(self) -> bool:
        """Whether listed = counted + failed + skipped, so that no video was lost."""
        return self.listed == self.counted + self.failed + self.skipped


def canonical_json(options: Mapping[str, Any]) -> str:
    """Returns options as JSON, with sorted names so that equal options give equal text.

    Raises:
      ValueError: A value is NaN or infinite.
      TypeError: A value has a type that JSON does not have.
    """
    return json.dumps(options, sort_keys=True, separators=(",", ":"), allow_nan=False)


def count_row(video_count: VideoCount, provenance: Provenance) -> Row:
    """Returns the row of `video_counts` for a counted video.

    Raises:
      RowError: The count is not finite, or the curve and the times differ in length.
    """
    counted, facts = video_count.counted, video_count.facts
    if not math.isfinite(counted.count):
        raise RowError(f"column video_counts.count must be a finite number. Received: {counted.count}")
    _check_lengths(video_count)
    return {
        **_key(video_count.video, provenance),
        **_upload(video_count.video),
        "captured_at": _captured_at(facts.captured_sec, video_count.video.updated),
        "labels": provenance.name_labels.of(valid_text(video_count.video.uri)),
        "count": counted.count,
        "count_rounded": rounded_count(counted.count),
        "confidence": counted.confidence,
        "certainty": counted.certainty,
        "flags": [flag.value for flag in video_count.flags],
        "stride": counted.stride,
        "stride_scores": [
            {"stride": stride, "score": _finite_or_none(score)} for stride, score in sorted(counted.stride_scores.items())
        ],
        "mean_period_sec": video_count.mean_period_sec,
        "mean_rate_hz": video_count.mean_rate_hz,
        "segments": [dataclasses.asdict(segment) for segment in video_count.segments],
        "repetition_times_sec": video_count.repetition_times_sec,
        "duration_sec": facts.duration_sec,
        "first_frame_sec": facts.first_frame_sec,
        "fps": facts.fps,
        "decoded_frames": facts.decoded_frames,
        "scored_frames": len(video_count.times_sec),
        "width": facts.width,
        "height": facts.height,
        "codec": facts.codec or None,
        "rotation_degrees": facts.rotation_degrees,
        "size_bytes": video_count.video.size_bytes,
        **_run(provenance),
        **_how(provenance),
    }


def curve_row(video_count: VideoCount, provenance: Provenance) -> Row:
    """Returns the row of `frame_curves` for a counted video; its points are one `pa.StructArray`.

    Raises:
      RowError: The curve and the times differ in length.
    """
    counted = video_count.counted
    _check_lengths(video_count)
    points: dict[str, np.ndarray] = {
        "frame": np.arange(len(video_count.times_sec)),
        "time_sec": video_count.times_sec,
        "count": np.cumsum(counted.per_frame_count),
        "rate_hz": video_count.rate_hz,
        "periodicity": counted.periodicity.astype(np.float64),
        "period_sec": video_count.period_sec,
    }
    (points_column,) = (column for column in FRAME_CURVES.columns if column.name == "points")
    return {
        **_key(video_count.video, provenance),
        **_upload(video_count.video),
        **_run(provenance),
        "points": pa.StructArray.from_arrays(
            [pa.array(values, mask=~np.isfinite(values)) for values in points.values()],
            fields=list(points_column.arrow_item_type),
        ),
    }


def failure_row(failure: Failure, provenance: Provenance) -> Row:
    """Returns the row of `failures` for a video that could not be counted."""
    return {
        **_key(failure.video, provenance),
        **_upload(failure.video),
        "labels": provenance.name_labels.of(valid_text(failure.video.uri)),
        "stage": failure.stage.value,
        "code": failure.code.value,
        "message": valid_text(failure.message),
        "size_bytes": failure.video.size_bytes,
        **_run(provenance),
        **_how(provenance),
    }


def run_row(
    totals: RunTotals, provenance: Provenance, run_ended: datetime.datetime, upload_dates: Collection[datetime.date] = ()
) -> Row:
    """Returns the row of `runs` for a run.

    Args:
      totals: How many videos the run listed, counted, failed and skipped.
      provenance: The run.
      run_ended: Time of the commit, with its time zone.
      upload_dates: Upload dates (UTC) of the run's rows.
    """
    return {
        "run_id": provenance.run_id,
        "run_started": provenance.run_started,
        "run_ended": run_ended,
        **dataclasses.asdict(totals),
        "model": provenance.model_key,
        "options_hash": provenance.options_hash,
        **_how(provenance),
        "first_upload_date": min(upload_dates, default=None),
        "last_upload_date": max(upload_dates, default=None),
        "upload_dates": sorted(upload_dates),
    }


def listing_batch(videos: Sequence[VideoRef]) -> pa.RecordBatch:
    """Returns the rows of `schema.LISTING` for videos, one row per video."""
    uploads = [_upload(video) for video in videos]
    coder = VideoRefCoder()
    columns: dict[str, list[Any]] = {
        "video": [coder.encode(video).decode("ascii") for video in videos],
        "slice_hash": [slice_hash(video) for video in videos],
        "video_uri": [valid_text(video.uri) for video in videos],
        "video_generation": [video.generation for video in videos],
        "upload_date": [upload["upload_date"] for upload in uploads],
        "video_updated": [upload["video_updated"] for upload in uploads],
    }
    return pa.RecordBatch.from_pydict(columns, schema=LISTING.arrow_schema)


def to_record_batch(row: Row, table: Table) -> pa.RecordBatch:
    """Returns a row as a record batch of length 1, with NULL for NaN and infinity in FLOAT64 columns.

    Raises:
      RowError: A column is missing, unknown or of another type, or a REQUIRED value is NULL or not finite.
    """
    names = [column.name for column in table.columns]
    if set(row) != set(names):
        missing, unknown = sorted(set(names) - set(row)), sorted(set(row) - set(names))
        raise RowError(
            f"a row of {table.name} must have exactly the table's columns. Received: without {missing}, with {unknown}"
        )
    arrays = [_to_array(row[column.name], column, table) for column in table.columns]
    return pa.RecordBatch.from_arrays(arrays, schema=table.arrow_schema)


def _to_array(value: Any, column: Column, table: Table) -> pa.Array:
    """Returns a column's value as an array of length 1."""
    try:
        if column.mode is Mode.REPEATED:
            items = value if isinstance(value, pa.Array) else pa.array(value, type=column.arrow_item_type)
            if items.type != column.arrow_item_type or items.null_count:
                raise RowError(f"items must be {column.arrow_item_type} and not NULL")
            if column.type is ColumnType.FLOAT64 and not np.isfinite(items.to_numpy(zero_copy_only=False)).all():
                raise RowError("items must be finite")
            return pa.ListArray.from_arrays(pa.array([0, len(items)], pa.int32()), items, type=column.arrow_type)
        if value is not None and not isinstance(value, _PYTHON_TYPES[column.type]):
            raise RowError(f"got {type(value).__name__}")
        if column.type is ColumnType.FLOAT64 and value is not None and not math.isfinite(value):
            value = None
        if column.type is ColumnType.TIMESTAMP and value is not None and value.tzinfo is None:
            raise RowError("a time must have a time zone")
        if column.mode is Mode.REQUIRED and value is None:
            raise RowError("a REQUIRED column must have a finite value")
        return pa.array([value], type=column.arrow_type)
    except (pa.ArrowException, ArithmeticError, TypeError, ValueError) as error:
        reason = str(error).splitlines()[0]
        raise RowError(
            f"column {table.name}.{column.name} must be {column.type.value}: {reason}. Received: {value!r:.100}"
        ) from error


def _key(video: VideoRef, provenance: Provenance) -> Row:
    return {
        "video_uri": valid_text(video.uri),
        "video_generation": video.generation,
        "model": provenance.model_key,
        "options_hash": provenance.options_hash,
    }


def _upload(video: VideoRef) -> Row:
    updated = video.updated.astimezone(datetime.UTC)
    return {"upload_date": updated.date(), "video_updated": updated}


def _captured_at(captured_sec: float, updated: datetime.datetime) -> datetime.datetime | None:
    """Returns the time of recording that a file declares, in seconds since 1970; None if that is absurd for its upload."""
    latest = min(updated, _LAST_UPLOAD) + _CAPTURE_AFTER_UPLOAD
    if not _FIRST_CAPTURE.timestamp() <= captured_sec <= latest.timestamp():
        return None
    return datetime.datetime.fromtimestamp(captured_sec, datetime.UTC)


def _run(provenance: Provenance) -> Row:
    return {"run_id": provenance.run_id, "run_started": provenance.run_started}


def _how(provenance: Provenance) -> Row:
    return {
        "model_sha256": provenance.model_sha256,
        "options_json": provenance.options_json,
        "code_version": provenance.code_version,
        "precision": provenance.precision,
    }


def _check_lengths(video_count: VideoCount) -> None:
    """Raises RowError unless the curve has one value for each time."""
    times_sec, num_frames = video_count.times_sec, len(video_count.counted.per_frame_count)
    if len(times_sec) != num_frames:
        raise RowError(f"the curve must have one value for each time. Received: {num_frames} values and {len(times_sec)} times")


def _finite_or_none(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]
