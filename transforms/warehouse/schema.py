"""The tables that a run fills: names, columns, types, units and keys.

Parquet schemas, the tables of every database, and `docs/data_dictionary.md` are made from `TABLES`. A column may be
added, as NULLABLE or REPEATED. No column is ever dropped or retyped, since existing tables are upgraded in place. Descriptions
are what analysts read, in the database and in the dictionary.
"""

from __future__ import annotations

import dataclasses
import enum

import pyarrow as pa

from transforms.records import FLAG_MEANINGS


class ColumnType(enum.StrEnum):
    """Type of a column, or of the items of a REPEATED column."""

    STRING = "STRING"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    STRUCT = "STRUCT"


class Mode(enum.StrEnum):
    """Whether a column always has a value, may be NULL, or is a list, which is never NULL but may be empty."""

    REQUIRED = "REQUIRED"
    NULLABLE = "NULLABLE"
    REPEATED = "REPEATED"


_ARROW_TYPES = {
    ColumnType.STRING: pa.string(),
    ColumnType.INT64: pa.int64(),
    ColumnType.FLOAT64: pa.float64(),
    ColumnType.DATE: pa.date32(),
    ColumnType.TIMESTAMP: pa.timestamp("us", tz="UTC"),
}


@dataclasses.dataclass(frozen=True)
class Column:
    """A column, or a field of a STRUCT column.

    Attributes:
      name: Name in lower case, ending with the unit.
      type: Type of the value, or of the items if `mode` is REPEATED.
      description: Meaning and unit, as one or more sentences for analysts.
      mode: Whether the column is required, nullable or a list. Fields of a STRUCT are NULLABLE.
      fields: Fields of a STRUCT column; empty for other types.
    """

    name: str
    type: ColumnType
    description: str
    mode: Mode = Mode.NULLABLE
    fields: tuple[Column, ...] = ()

    @property
    def arrow_item_type(self) -> pa.DataType:
        """Type of a value in Arrow and Parquet, or of one item if REPEATED."""
        if self.type is ColumnType.STRUCT:
            return pa.struct([field.arrow_field for field in self.fields])
        return _ARROW_TYPES[self.type]

    @property
    def arrow_type(self) -> pa.DataType:
        """Type of the whole column in Arrow and Parquet."""
        return pa.list_(self.arrow_item_type) if self.mode is Mode.REPEATED else self.arrow_item_type

    @property
    def arrow_field(self) -> pa.Field:
        """The column in Arrow and Parquet."""
        return pa.field(self.name, self.arrow_type, nullable=self.mode is Mode.NULLABLE)


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: Name of the table.
      description: What one row is, as one or more sentences for analysts.
      columns: Columns in their order.
      key: Names of the columns on which rows are merged. No two rows have the same key.
      partition_column: Name of the DATE column to partition by; None for a small table.
      cluster_columns: Names of the columns to cluster by.
    """

    name: str
    description: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    partition_column: str | None = None
    cluster_columns: tuple[str, ...] = ()

    @property
    def arrow_schema(self) -> pa.Schema:
        """Schema of the table's Parquet files."""
        return pa.schema([column.arrow_field for column in self.columns])


_MODEL = (
    Column(
        "model",
        ColumnType.STRING,
        "Model that counted: name of a preset, such as lite, or path of a checkpoint.",
        Mode.REQUIRED,
    ),
    Column(
        "options_hash",
        ColumnType.STRING,
        "Identifier of the options: first 16 hexadecimal digits of the SHA-256 of `options_json`.",
        Mode.REQUIRED,
    ),
)

_KEY = (
    Column("video_uri", ColumnType.STRING, "Local path or gs:// URI of the video.", Mode.REQUIRED),
    Column(
        "video_generation",
        ColumnType.INT64,
        "Version of the video: generation of the Cloud Storage object, or modification time of a local file in nanoseconds.",
        Mode.REQUIRED,
    ),
    *_MODEL,
)

_KEY_NAMES = tuple(column.name for column in _KEY)

_UPLOAD = (
    Column(
        "upload_date",
        ColumnType.DATE,
        "Date (UTC) on which this version of the video was uploaded. Name it in queries to read less: it partitions the table.",
        Mode.REQUIRED,
    ),
    Column(
        "video_updated",
        ColumnType.TIMESTAMP,
        "Time at which this version of the video was uploaded, or a local file was last modified.",
        Mode.REQUIRED,
    ),
)

_LABELS = Column(
    "labels",
    ColumnType.STRUCT,
    "Labels that `--label_regex` found in the video's name. Empty if the run had none, or the name does not match.",
    Mode.REPEATED,
    (
        Column("name", ColumnType.STRING, "Name of the label, such as user."),
        Column("value", ColumnType.STRING, "Value of the label, never empty."),
    ),
)

_RUN = (
    Column("run_id", ColumnType.STRING, "Run that wrote this row. Joins with `runs`.", Mode.REQUIRED),
    Column(
        "run_started",
        ColumnType.TIMESTAMP,
        "Time at which the run that wrote this row started. If two runs write the same key, the row of the later run stays.",
        Mode.REQUIRED,
    ),
)

_PROVENANCE = (
    Column("model_sha256", ColumnType.STRING, "SHA-256 (hexadecimal) of the model's configuration and weights.", Mode.REQUIRED),
    Column("options_json", ColumnType.STRING, "Options that affect the counts, as JSON.", Mode.REQUIRED),
    Column("code_version", ColumnType.STRING, "Version of repcount that wrote the row.", Mode.REQUIRED),
    Column("precision", ColumnType.STRING, "Number format of the network: float32, bfloat16, float16 or int8.", Mode.REQUIRED),
)

VIDEO_COUNTS = Table(
    name="video_counts",
    description="One row per counted version of a video, model and options.",
    key=_KEY_NAMES,
    partition_column="upload_date",
    cluster_columns=("video_uri",),
    columns=(
        *_KEY,
        *_UPLOAD,
        Column(
            "captured_at",
            ColumnType.TIMESTAMP,
            "Time at which the video was recorded, as its file says (creation_time). NULL if the file says nothing, a time "
            "before 1990, or one more than a day after the upload.",
        ),
        _LABELS,
        Column("count", ColumnType.FLOAT64, "Number of repetitions, including fractions.", Mode.REQUIRED),
        Column(
            "count_rounded",
            ColumnType.INT64,
            "Number of repetitions as a whole number: `count` rounded, halves up. As many as `repetition_times_sec` has.",
            Mode.REQUIRED,
        ),
        Column(
            "confidence",
            ColumnType.FLOAT64,
            "How certain the model is that the video shows repetitions, 0..1. A video below the run's threshold has count 0.",
            Mode.REQUIRED,
        ),
        Column(
            "certainty",
            ColumnType.FLOAT64,
            "Estimated probability, 0..1, that `count` is within one of the true number, fitted on drawn videos. NULL if "
            "nothing was counted, or the model has no such estimate.",
        ),
        Column(
            "flags",
            ColumnType.STRING,
            "Notes on the count. " + " ".join(f"{flag}: {meaning}" for flag, meaning in FLAG_MEANINGS.items()),
            Mode.REPEATED,
        ),
        Column(
            "stride",
            ColumnType.INT64,
            "Stride with the best score, in frames as the model saw them: 2 means every second one. Frames of slow videos are "
            "seen several times.",
            Mode.REQUIRED,
        ),
        Column(
            "stride_scores",
            ColumnType.STRUCT,
            "One item per stride tried, in ascending order. The stride with the best score decides the count, unless all vote.",
            Mode.REPEATED,
            (
                Column("stride", ColumnType.INT64, "Stride in frames: 2 means that the model saw every second frame."),
                Column("score", ColumnType.FLOAT64, "Mean periodicity score at this stride, 0..1."),
            ),
        ),
        Column(
            "mean_period_sec",
            ColumnType.FLOAT64,
            "Mean duration of a repetition in seconds: duration of the periodic frames divided by `count`. NULL if nothing was "
            "counted.",
        ),
        Column(
            "mean_rate_hz",
            ColumnType.FLOAT64,
            "Mean repetitions per second while repeating: 1 / `mean_period_sec`. NULL if nothing was counted.",
        ),
        Column(
            "segments",
            ColumnType.STRUCT,
            "Uninterrupted sets of repetitions, in order. A pause shorter than one repetition does not end a segment. Their "
            "counts add up to `count`.",
            Mode.REPEATED,
            (
                Column("start_sec", ColumnType.FLOAT64, "Start of the segment in seconds from the video's first frame."),
                Column("end_sec", ColumnType.FLOAT64, "End of the segment in seconds from the video's first frame."),
                Column("count", ColumnType.FLOAT64, "Number of repetitions in the segment, including fractions."),
            ),
        ),
        Column(
            "repetition_times_sec",
            ColumnType.FLOAT64,
            "Time at which repetition 1, 2, 3 … was complete, in seconds from the video's first frame: where the running "
            "count reaches that number, and for the last one, if `count` was rounded up, where counting ends. There are "
            "`count_rounded` of them.",
            Mode.REPEATED,
        ),
        Column("duration_sec", ColumnType.FLOAT64, "Duration in seconds of the decoded part of the video. NULL if unknown."),
        Column(
            "first_frame_sec",
            ColumnType.FLOAT64,
            "Time in seconds in a player at which the first frame appears; above 0 if the sound begins before. All other times "
            "are from the first frame. NULL in rows of versions that did not note it.",
        ),
        Column("fps", ColumnType.FLOAT64, "Frames per second of the video, measured from presentation times. NULL if unknown."),
        Column(
            "decoded_frames",
            ColumnType.INT64,
            "Number of frames in the part that was read, also those that sampling left out.",
            Mode.REQUIRED,
        ),
        Column(
            "scored_frames",
            ColumnType.INT64,
            "Number of frames that the count is based on, after reduction to the maximum frame rate.",
            Mode.REQUIRED,
        ),
        Column("width", ColumnType.INT64, "Width of the video in pixels, after rotation.", Mode.REQUIRED),
        Column("height", ColumnType.INT64, "Height of the video in pixels, after rotation.", Mode.REQUIRED),
        Column("codec", ColumnType.STRING, "FFmpeg's name of the codec, such as `h264`, `hevc` or `av1`. NULL if unknown."),
        Column(
            "rotation_degrees",
            ColumnType.INT64,
            "Clockwise rotation in degrees applied to show the video upright: 0, 90, 180 or 270.",
            Mode.REQUIRED,
        ),
        Column("size_bytes", ColumnType.INT64, "Size of the video file in bytes.", Mode.REQUIRED),
        *_RUN,
        *_PROVENANCE,
    ),
)

FRAME_CURVES = Table(
    name="frame_curves",
    description="One row per row of `video_counts`: its count over time. The view `frame_curve_points` has one row per frame.",
    key=_KEY_NAMES,
    partition_column="upload_date",
    cluster_columns=("video_uri",),
    columns=(
        *_KEY,
        *_UPLOAD,
        *_RUN,
        Column(
            "points",
            ColumnType.STRUCT,
            "One item per scored frame, in order.",
            Mode.REPEATED,
            (
                Column("frame", ColumnType.INT64, "Index of the frame among the scored frames, from 0."),
                Column("time_sec", ColumnType.FLOAT64, "Time of the frame in seconds from the video's first frame."),
                Column("count", ColumnType.FLOAT64, "Number of repetitions from the video's start to the end of this frame."),
                Column("rate_hz", ColumnType.FLOAT64, "Repetitions per second at this frame. 0 if nothing repeats there."),
                Column(
                    "periodicity",
                    ColumnType.FLOAT64,
                    "Periodicity score of the frame, 0..1: how certain the model is that it belongs to a repetition.",
                ),
                Column(
                    "period_sec",
                    ColumnType.FLOAT64,
                    "Duration in seconds of a repetition at this frame. NULL if nothing repeats there.",
                ),
            ),
        ),
    ),
)

FAILURES = Table(
    name="failures",
    description=(
        "One row per version of a video, model and options that could not be counted. A count deletes it, and a failure "
        "never replaces a count."
    ),
    key=_KEY_NAMES,
    partition_column="upload_date",
    cluster_columns=("video_uri",),
    columns=(
        *_KEY,
        *_UPLOAD,
        _LABELS,
        Column("stage", ColumnType.STRING, "Step that failed: decode, score or count.", Mode.REQUIRED),
        Column("code", ColumnType.STRING, "Cause of the failure as a code, such as NOT_A_VIDEO.", Mode.REQUIRED),
        Column("message", ColumnType.STRING, "Cause of the failure in words.", Mode.REQUIRED),
        Column("size_bytes", ColumnType.INT64, "Size of the video file in bytes.", Mode.REQUIRED),
        *_RUN,
        *_PROVENANCE,
    ),
)

SERVER_SUFFIX = "-serve"
"""End of the ids of runs that are commits of `repcount serve`. They say nothing about nights, nor how fast runs are."""

RUNS = Table(
    name="runs",
    description="One row per committed run. listed = counted + failed + skipped.",
    key=("run_id",),
    columns=(
        Column(
            "run_id",
            ColumnType.STRING,
            f"Identifier of the run. That of a commit of `repcount serve` ends with {SERVER_SUFFIX}.",
            Mode.REQUIRED,
        ),
        Column("run_started", ColumnType.TIMESTAMP, "Time at which the run started.", Mode.REQUIRED),
        Column("run_ended", ColumnType.TIMESTAMP, "Time at which the run committed its rows.", Mode.REQUIRED),
        Column(
            "listed", ColumnType.INT64, "Number of videos listed, without those left to later runs by a limit.", Mode.REQUIRED
        ),
        Column("counted", ColumnType.INT64, "Number of videos counted.", Mode.REQUIRED),
        Column("failed", ColumnType.INT64, "Number of videos that could not be counted.", Mode.REQUIRED),
        Column("skipped", ColumnType.INT64, "Number of videos skipped because the tables already had them.", Mode.REQUIRED),
        Column(
            "scored_frames", ColumnType.INT64, "Total number of scored frames of all videos counted by the run.", Mode.REQUIRED
        ),
        Column("video_sec", ColumnType.FLOAT64, "Total duration in seconds of all videos counted by the run.", Mode.REQUIRED),
        *_MODEL,
        *_PROVENANCE,
        Column(
            "first_upload_date",
            ColumnType.DATE,
            "Earliest upload date (UTC) among the run's rows. NULL if the run has no rows.",
        ),
        Column(
            "last_upload_date", ColumnType.DATE, "Latest upload date (UTC) among the run's rows. NULL if the run has no rows."
        ),
        Column(
            "upload_dates",
            ColumnType.DATE,
            "Upload dates (UTC) of the run's rows, in order. Empty also for runs of versions that did not note them.",
            Mode.REPEATED,
        ),
    ),
)

TABLES = (VIDEO_COUNTS, FRAME_CURVES, FAILURES, RUNS)

LISTING = Table(
    name="listing",
    description="One row per listed video. Only in the staged files of a run.",
    key=("video_uri", "video_generation"),
    columns=(
        Column("video", ColumnType.STRING, "The video, encoded by `transforms.coders.VideoRefCoder`.", Mode.REQUIRED),
        Column("slice_hash", ColumnType.INT64, "`records.slice_hash` of the video.", Mode.REQUIRED),
        *_KEY[:2],
        *_UPLOAD,
    ),
)

SELECTED = dataclasses.replace(LISTING, name="selected", description="One row per listed video to count. Only during a run.")
