"""The tables and views that a run fills: the one place that says their columns, types, units and keys.

Parquet schemas, DuckDB's tables and views, and `docs/data_dictionary.md` are all made from `TABLES` and `VIEWS`. A column may
be added, as NULLABLE or REPEATED; none is ever dropped or retyped, since tables in use are upgraded and never rebuilt.

`python -m transforms.warehouse.schema > docs/data_dictionary.md` writes the dictionary.
"""

from __future__ import annotations

import dataclasses
import enum
import sys
from collections.abc import Iterator

import pyarrow as pa


class ColumnType(str, enum.Enum):
    """Type of a column, or of the items of a REPEATED one; the value is BigQuery's name for it."""

    STRING = "STRING"
    INT64 = "INT64"
    FLOAT64 = "FLOAT64"
    DATE = "DATE"
    TIMESTAMP = "TIMESTAMP"
    STRUCT = "STRUCT"


class Mode(str, enum.Enum):
    """Whether a column always has a value, may be NULL, or is a list (which is never NULL, but may be empty)."""

    REQUIRED = "REQUIRED"
    NULLABLE = "NULLABLE"
    REPEATED = "REPEATED"


_DUCKDB_TYPES = {
    ColumnType.STRING: "VARCHAR",
    ColumnType.INT64: "BIGINT",
    ColumnType.FLOAT64: "DOUBLE",
    ColumnType.DATE: "DATE",
    ColumnType.TIMESTAMP: "TIMESTAMP WITH TIME ZONE",
}

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
      name: in lower case, with its unit.
      type: of the value, or of the items if `mode` is REPEATED.
      description: what it says and in which unit.
      mode: see `Mode`. Fields of a STRUCT are NULLABLE.
      fields: of a STRUCT; else empty.
    """

    name: str
    type: ColumnType
    description: str
    mode: Mode = Mode.NULLABLE
    fields: tuple[Column, ...] = ()

    @property
    def arrow_item_type(self) -> pa.DataType:
        """Type of a value in Arrow and Parquet; of one item if REPEATED."""
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

    @property
    def duckdb_type(self) -> str:
        """Type of the whole column in DuckDB's SQL."""
        if self.type is ColumnType.STRUCT:
            item = f"STRUCT({', '.join(f'{quoted(field.name)} {field.duckdb_type}' for field in self.fields)})"
        else:
            item = _DUCKDB_TYPES[self.type]
        return f"{item}[]" if self.mode is Mode.REPEATED else item

    @property
    def duckdb_definition(self) -> str:
        """Name, type and constraint, as in DuckDB's CREATE TABLE and ALTER TABLE … ADD COLUMN."""
        constraint = {Mode.REQUIRED: " NOT NULL", Mode.NULLABLE: "", Mode.REPEATED: " DEFAULT []"}[self.mode]
        return f"{quoted(self.name)} {self.duckdb_type}{constraint}"


@dataclasses.dataclass(frozen=True)
class Table:
    """A table.

    Attributes:
      name: of the table.
      description: what a row is.
      columns: in their order.
      key: names of the columns on which rows are merged: no two rows agree in all of them.
      partition_column: DATE column that BigQuery partitions by; None if the table stays small.
      cluster_columns: columns that BigQuery clusters by.
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

    @property
    def duckdb_ddl(self) -> str:
        """DuckDB's CREATE TABLE."""
        definitions = ",\n  ".join(column.duckdb_definition for column in self.columns)
        return f"CREATE TABLE {quoted(self.name)} (\n  {definitions}\n)"


@dataclasses.dataclass(frozen=True)
class View:
    """A view, in SQL that DuckDB and BigQuery share.

    Attributes:
      name: of the view.
      description: what a row is.
      sql: its query, with `{dataset}` before the name of each table.
    """

    name: str
    description: str
    sql: str

    def query(self, dataset: str = "") -> str:
        """Returns the query with table names qualified by `dataset`, which includes its dot; "" leaves them bare."""
        return self.sql.format(dataset=dataset)


def quoted(name: str) -> str:
    """Returns a name as DuckDB's SQL takes it, whatever characters it has."""
    return '"' + name.replace('"', '""') + '"'


_KEY = (
    Column("video_uri", ColumnType.STRING, "Path or gs:// address of the video.", Mode.REQUIRED),
    Column(
        "video_generation",
        ColumnType.INT64,
        "Version of the video: Cloud Storage's generation, or a local file's time of modification in nanoseconds.",
        Mode.REQUIRED,
    ),
    Column("model", ColumnType.STRING, "Name of the model's preset, or the path of its checkpoint.", Mode.REQUIRED),
    Column(
        "options_hash",
        ColumnType.STRING,
        "First 16 hexadecimal digits of the SHA-256 of the run's `options_json`.",
        Mode.REQUIRED,
    ),
)

_KEY_NAMES = tuple(column.name for column in _KEY)

_UPLOAD = (
    Column("upload_date", ColumnType.DATE, "Day (UTC) of `video_updated`; partitions the table.", Mode.REQUIRED),
    Column("video_updated", ColumnType.TIMESTAMP, "Time of the video's last change, as listed.", Mode.REQUIRED),
)

_RUN = (
    Column("run_id", ColumnType.STRING, "Run that made this row; see the table `runs`.", Mode.REQUIRED),
    Column("run_started", ColumnType.TIMESTAMP, "Start of that run; the later run's row stays.", Mode.REQUIRED),
)

_PROVENANCE = (
    Column(
        "model_sha256", ColumnType.STRING, "SHA-256 of the model's configuration and weights, in hexadecimal.", Mode.REQUIRED
    ),
    Column("options_json", ColumnType.STRING, "Options that decide the numbers, as JSON.", Mode.REQUIRED),
    Column("code_version", ColumnType.STRING, "Version of the code.", Mode.REQUIRED),
    Column("precision", ColumnType.STRING, "Arithmetic of the network: float32, bfloat16 or float16.", Mode.REQUIRED),
)

VIDEO_COUNTS = Table(
    name="video_counts",
    description="One row per counted video, model and options.",
    key=_KEY_NAMES,
    partition_column="upload_date",
    cluster_columns=("video_uri",),
    columns=(
        *_KEY,
        *_UPLOAD,
        Column("count", ColumnType.FLOAT64, "Repetitions, fractions included.", Mode.REQUIRED),
        Column("count_rounded", ColumnType.INT64, "`count` rounded to the nearest whole number, halves up.", Mode.REQUIRED),
        Column(
            "confidence",
            ColumnType.FLOAT64,
            "How sure the model is of what it counted, 0..1; a video below the run's threshold counts 0.",
            Mode.REQUIRED,
        ),
        Column(
            "flags",
            ColumnType.STRING,
            "What to know about the count: NOT_PERIODIC (nothing repeats), TRUNCATED (frames are missing, at the end or where "
            "the file is damaged; the count is that of the others), TOO_SHORT (fewer frames than the model's window of 64), "
            "PERIOD_AT_LIMIT (the true period may be longer), AMBIGUOUS_STRIDE (another stride or period is as likely and "
            "counts differently), VARIABLE_FRAME_RATE, ROTATED (turned upright as the file asks).",
            Mode.REPEATED,
        ),
        Column(
            "stride",
            ColumnType.INT64,
            "Frames from one frame that the model saw to the next, at the stride with the best score.",
            Mode.REQUIRED,
        ),
        Column(
            "stride_scores",
            ColumnType.STRUCT,
            "Score of every stride, in rising order; the best one counted, unless all strides voted.",
            Mode.REPEATED,
            (
                Column("stride", ColumnType.INT64, "Frames from one frame seen to the next."),
                Column("score", ColumnType.FLOAT64, "Mean periodicity score, 0..1."),
            ),
        ),
        Column(
            "mean_period_sec",
            ColumnType.FLOAT64,
            "Mean duration of a repetition in seconds: time of the periodic frames by `count`. NULL if nothing was counted.",
        ),
        Column("mean_rate_hz", ColumnType.FLOAT64, "Repetitions a second while repeating: 1 / `mean_period_sec`."),
        Column(
            "segments",
            ColumnType.STRUCT,
            "Stretches of repetitions, in order; pauses shorter than one repetition do not end one. Counts add up to `count`.",
            Mode.REPEATED,
            (
                Column("start_sec", ColumnType.FLOAT64, "Start, seconds from the video's first frame."),
                Column("end_sec", ColumnType.FLOAT64, "End, seconds from the video's first frame."),
                Column("count", ColumnType.FLOAT64, "Repetitions within."),
            ),
        ),
        Column(
            "repetition_times_sec",
            ColumnType.FLOAT64,
            "When repetitions 1, 2, 3 … were complete, seconds from the video's first frame.",
            Mode.REPEATED,
        ),
        Column("duration_sec", ColumnType.FLOAT64, "Duration in seconds of what decoded."),
        Column("fps", ColumnType.FLOAT64, "Frames a second as measured from their presentation times."),
        Column("decoded_frames", ColumnType.INT64, "Frames that decoded.", Mode.REQUIRED),
        Column("scored_frames", ColumnType.INT64, "Frames that were counted over, after thinning.", Mode.REQUIRED),
        Column("width", ColumnType.INT64, "Width in pixels, as shown (after rotation).", Mode.REQUIRED),
        Column("height", ColumnType.INT64, "Height in pixels, as shown (after rotation).", Mode.REQUIRED),
        Column("codec", ColumnType.STRING, "Codec as FFmpeg names it: `h264`, `hevc`, `av1`, …; NULL if unknown."),
        Column("rotation_degrees", ColumnType.INT64, "Clockwise rotation applied: 0, 90, 180 or 270.", Mode.REQUIRED),
        Column("size_bytes", ColumnType.INT64, "Size of the file in bytes, as listed.", Mode.REQUIRED),
        *_RUN,
        *_PROVENANCE,
    ),
)

FRAME_CURVES = Table(
    name="frame_curves",
    description="One row per row of `video_counts`: how the count rises over the video. See the view `frame_curve_points`.",
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
            "One for each frame that was counted over, in order.",
            Mode.REPEATED,
            (
                Column("frame", ColumnType.INT64, "Number of the frame among those counted over, from 0."),
                Column("time_sec", ColumnType.FLOAT64, "When it is shown, seconds from the video's first frame."),
                Column("count", ColumnType.FLOAT64, "Repetitions from the start to the end of this frame."),
                Column("rate_hz", ColumnType.FLOAT64, "Repetitions a second; 0 where the frame is not periodic."),
                Column("periodicity", ColumnType.FLOAT64, "Periodicity score of the frame, 0..1."),
                Column("period_sec", ColumnType.FLOAT64, "Seconds a repetition takes here; NULL where not periodic."),
            ),
        ),
    ),
)

FAILURES = Table(
    name="failures",
    description=(
        "One row per video, model and options that could not be counted. A count removes it, and a failure never takes the "
        "place of a count that is there."
    ),
    key=_KEY_NAMES,
    partition_column="upload_date",
    cluster_columns=("video_uri",),
    columns=(
        *_KEY,
        *_UPLOAD,
        Column("stage", ColumnType.STRING, "Step that failed: decode, score or count.", Mode.REQUIRED),
        Column("code", ColumnType.STRING, "Why, as a code, for instance NOT_A_VIDEO.", Mode.REQUIRED),
        Column("message", ColumnType.STRING, "Why, in words.", Mode.REQUIRED),
        Column("size_bytes", ColumnType.INT64, "Size of the file in bytes, as listed.", Mode.REQUIRED),
        *_RUN,
        *_PROVENANCE,
    ),
)

RUNS = Table(
    name="runs",
    description="One row per run that ended: listed = counted + failed + skipped.",
    key=("run_id",),
    columns=(
        Column("run_id", ColumnType.STRING, "Identity of the run.", Mode.REQUIRED),
        Column("run_started", ColumnType.TIMESTAMP, "When the run was started.", Mode.REQUIRED),
        Column("run_ended", ColumnType.TIMESTAMP, "When its rows were committed.", Mode.REQUIRED),
        Column("listed", ColumnType.INT64, "Videos listed.", Mode.REQUIRED),
        Column("counted", ColumnType.INT64, "Videos counted.", Mode.REQUIRED),
        Column("failed", ColumnType.INT64, "Videos that could not be counted.", Mode.REQUIRED),
        Column("skipped", ColumnType.INT64, "Videos left out since the tables had them already.", Mode.REQUIRED),
        Column("scored_frames", ColumnType.INT64, "Frames counted over, all counted videos together.", Mode.REQUIRED),
        Column("video_sec", ColumnType.FLOAT64, "Duration in seconds of all counted videos together.", Mode.REQUIRED),
        Column("model", ColumnType.STRING, "Name of the model's preset, or the path of its checkpoint.", Mode.REQUIRED),
        Column(
            "options_hash",
            ColumnType.STRING,
            "First 16 hexadecimal digits of the SHA-256 of `options_json`.",
            Mode.REQUIRED,
        ),
        *_PROVENANCE,
        Column("first_upload_date", ColumnType.DATE, "First day of upload of its rows; NULL if it has none."),
        Column("last_upload_date", ColumnType.DATE, "Last day of upload of its rows; NULL if it has none."),
    ),
)

TABLES = (VIDEO_COUNTS, FRAME_CURVES, FAILURES, RUNS)

LISTING = Table(
    name="listing",
    description="One row per listed video, in a run's own files only.",
    key=("video_uri", "video_generation"),
    columns=(
        Column("video", ColumnType.STRING, "The video as `records.VideoRefCoder` writes it.", Mode.REQUIRED),
        *_KEY[:2],
        *_UPLOAD,
    ),
)

VIEWS = (
    View(
        "frame_curve_points",
        "One row per frame: the curves of `frame_curves`, unnested.",
        """\
SELECT
  video_uri, video_generation, model, options_hash, upload_date, run_id,
  point.frame, point.time_sec, point.count, point.rate_hz, point.periodicity, point.period_sec
FROM {dataset}frame_curves
CROSS JOIN UNNEST(points) AS point""",
    ),
    View(
        "latest_video_counts",
        "One row per video: of its newest version, the count of the run that started last, whichever model it used.",
        """\
SELECT *
FROM {dataset}video_counts
WHERE TRUE
QUALIFY ROW_NUMBER() OVER (
  PARTITION BY video_uri ORDER BY video_updated DESC, video_generation DESC, run_started DESC, run_id DESC
) = 1""",
    ),
    View(
        "failures_by_code",
        "One row per stage and code of failure.",
        """\
SELECT stage, code, COUNT(DISTINCT video_uri) AS videos, MIN(video_uri) AS example_uri, MAX(run_started) AS last_run_started
FROM {dataset}failures
GROUP BY stage, code""",
    ),
    View(
        "daily_summary",
        "One row per day of upload, model and options: videos counted and failed, repetitions, hours of video, confidence.",
        """\
SELECT
  upload_date, model, options_hash, COUNT(confidence) AS counted, COUNT(code) AS failed,
  COALESCE(SUM(count), 0) AS repetitions, COALESCE(SUM(duration_sec), 0) / 3600 AS video_hours,
  AVG(confidence) AS mean_confidence
FROM (
  SELECT upload_date, model, options_hash, count, duration_sec, confidence, CAST(NULL AS STRING) AS code
  FROM {dataset}video_counts
  UNION ALL
  SELECT upload_date, model, options_hash, NULL, NULL, NULL, code FROM {dataset}failures
) AS settled
GROUP BY upload_date, model, options_hash""",
    ),
    View(
        "model_comparison",
        "One row per version of a video and pair of models, or of options, that have both counted it; `a` sorts before `b`.",
        """\
SELECT
  a.video_uri, a.video_generation, a.upload_date,
  a.model AS model_a, a.options_hash AS options_hash_a, b.model AS model_b, b.options_hash AS options_hash_b,
  a.count AS count_a, b.count AS count_b, b.count - a.count AS difference,
  a.confidence AS confidence_a, b.confidence AS confidence_b
FROM {dataset}video_counts AS a
JOIN {dataset}video_counts AS b
ON a.upload_date = b.upload_date AND a.video_uri = b.video_uri AND a.video_generation = b.video_generation
WHERE a.model < b.model OR (a.model = b.model AND a.options_hash < b.options_hash)""",
    ),
)


def data_dictionary() -> str:
    """Returns `docs/data_dictionary.md`: every table, column and view in Markdown."""
    lines = [
        "# Data dictionary",
        "",
        "Generated by `python -m transforms.warehouse.schema > docs/data_dictionary.md`. Times are UTC. REQUIRED",
        "columns always have a value, NULLABLE ones may be NULL, REPEATED ones are lists, which may be empty.",
    ]
    for table in TABLES:
        lines += ["", f"## `{table.name}`", "", table.description, "", f"Key: {_code_list(table.key)}."]
        if table.partition_column:
            lines[-1] += (
                f" Partitioned by `{table.partition_column}`, clustered by {_code_list(table.cluster_columns)} in BigQuery."
            )
        lines += ["", "| Column | BigQuery | DuckDB | Mode | Meaning |", "| --- | --- | --- | --- | --- |"]
        lines += _dictionary_rows(table.columns)
    lines += ["", "## Views"]
    for view in VIEWS:
        lines += ["", f"### `{view.name}`", "", view.description, "", "```sql", view.query(), "```"]
    return "\n".join(lines) + "\n"


def _dictionary_rows(columns: tuple[Column, ...], prefix: str = "") -> Iterator[str]:
    for column in columns:
        duckdb_type = "STRUCT[]" if column.fields else column.duckdb_type
        yield f"| `{prefix}{column.name}` | {column.type.value} | {duckdb_type} | {column.mode.value} | {column.description} |"
        yield from _dictionary_rows(column.fields, f"{prefix}{column.name}.")


def _code_list(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    sys.stdout.write(data_dictionary())
