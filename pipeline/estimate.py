"""Estimates what a run would count, without counting: `repcount run --dry_run`."""

from __future__ import annotations

import dataclasses
import itertools
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from pipeline.machines import core_count_fps
from pipeline.run_config import RunConfig, SourceConfig
from transforms.left_out import LeftOutAccount, left_out_line
from transforms.matching import batched, match_objects
from transforms.records import SelectionTotals, VideoRef
from transforms.warehouse.base import Pace, selection_totals
from transforms.warehouse.parquet import TableWriter
from transforms.warehouse.rows import Provenance, listing_batch
from transforms.warehouse.schema import LISTING

_LOGGER = logging.getLogger(__name__)

_BATCH_ROWS = 10_000

_TYPICAL_BYTES_PER_SEC = 750_000
"""Bytes per second of a phone's video, 6 Mbit/s. Used as long as no video has been counted."""

WORKER_CORES = 2
"""Number of cores of the worker in the estimate of worker-hours."""

TYPICAL_FPS = 30.0
"""Frame rate in the estimate of worker-hours."""

_TABLES = """\
CREATE TABLE known (video_uri VARCHAR, video_generation BIGINT, duration_sec DOUBLE);
CREATE TABLE listing (video_uri VARCHAR, video_generation BIGINT, video_updated TIMESTAMPTZ, size_bytes BIGINT);
CREATE TABLE to_do AS FROM listing"""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run would count, and how long that would take.

    Attributes:
      videos: Number of videos that the run would count.
      skipped: Number of listed videos that the tables already have.
      left: Number of listed videos beyond the limit, left to later runs.
      size_bytes: Total size in bytes of the videos to count.
      known_videos: Number of videos to count whose duration the tables know from another count.
      known_sec: Total duration in seconds of the videos with known duration.
      video_sec: Total duration in seconds of the videos to count; estimated from the size where it is unknown.
      pace: Seconds of video that earlier runs with this model counted per second; None if there were none.
      typical_speed: Seconds of video that a worker with two cores counts per second.
      left_out: Number of matched names that are no part of the run, by `LeftOut.kind`.
    """

    videos: int
    skipped: int
    left: int
    size_bytes: int
    known_videos: int
    known_sec: float
    video_sec: float
    pace: float | None
    typical_speed: float
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """Returns the lines to print."""
        others = [f"{self.skipped:,} are in the tables already"] if self.skipped else []
        others += [f"{self.left:,} are left to another run"] if self.left else []
        lines = ["; ".join([f"would count {self.videos:,} videos", *others])]
        if self.videos:
            known = f"of {self.known_videos:,} videos known, {self.known_sec / 60:,.1f} min; the others from their size"
            source = known if self.known_videos else "from their size"
            worker_sec = self.video_sec / self.typical_speed
            lines += [
                f"bytes: {self.size_bytes:,}",
                f"minutes of video: about {self.video_sec / 60:,.1f} ({source})",
                f"worker-hours: about {worker_sec / 3600:,.2f} "
                f"(two cores each, {self.typical_speed:.1f} s of 1080p video a second)",
            ]
        if self.videos and self.pace:
            hours = self.video_sec / self.pace / 3600
            lines.append(f"hours until it is done: about {hours:,.2f} at the pace of the earlier runs with this model")
        if self.left_out:
            lines.append(left_out_line(self.left_out))
        return lines


def estimate(config: RunConfig, provenance: Provenance) -> Estimate:
    """Returns the estimate of a run, from a listing of its videos and the rows in the tables; changes no table.

    The listing is staged as that of a run is, so that the database joins it with its own rows. It is deleted at the end.

    Raises:
      WarehouseError: The tables cannot be read.
      BeamIOError: An input cannot be listed.
    """
    account = LeftOutAccount()
    pace = Pace({}, 0.0, 0.0)
    with duckdb.connect() as database:
        database.execute(_TABLES)
        if config.warehouse.is_ready():
            totals = _select_new(database, config, provenance, account)
            pace = config.warehouse.pace(provenance.model_key)
        else:
            totals = _select_all(database, config.source, account)
        for lost in account.lost:
            _LOGGER.error("%s", lost)
        return dataclasses.replace(_sum_up(database, config, totals, pace), left_out=account.numbers)


def _select_new(
    database: duckdb.DuckDBPyConnection, config: RunConfig, provenance: Provenance, account: LeftOutAccount
) -> SelectionTotals:
    """Fills `to_do` and `known` as the warehouse selects."""
    warehouse, selection = config.warehouse, config.source.selection
    writer = TableWriter(warehouse.staging_folder(provenance.run_id), LISTING)
    try:
        for listed in batched(_listed(config.source, account), _BATCH_ROWS):
            writer.write(listing_batch(listed))
        files = writer.close()
        totals, videos = warehouse.select(provenance, files, selection)
        for batch in batched(videos, _BATCH_ROWS):
            _insert_videos(database, "to_do", batch)
        if files:
            for rows in batched(warehouse.durations(provenance, files, selection), _BATCH_ROWS):
                columns = [pa.array(column) for column in zip(*rows, strict=True)]
                _append(database, "known", pa.table(columns, names=["video_uri", "video_generation", "duration_sec"]))
        return totals
    finally:
        writer.discard()
        warehouse.remove_staging(provenance.run_id)


def _select_all(database: duckdb.DuckDBPyConnection, source: SourceConfig, account: LeftOutAccount) -> SelectionTotals:
    """Fills `to_do` with all listed videos up to the limit, since there are no tables that could have some."""
    for listed in batched(_listed(source, account), _BATCH_ROWS):
        _insert_videos(database, "listing", listed)
    database.execute("CREATE TABLE different AS SELECT DISTINCT ON (video_uri, video_generation) * FROM listing")
    database.execute(
        "INSERT INTO to_do FROM different ORDER BY video_updated, video_uri, video_generation LIMIT $limit",
        {"limit": source.selection.limit or sys.maxsize},
    )
    ((listed_videos,),) = database.execute("SELECT COUNT(*) FROM different").fetchall()
    return selection_totals(listed_videos, listed_videos, source.selection.limit)


def _sum_up(database: duckdb.DuckDBPyConnection, config: RunConfig, totals: SelectionTotals, pace: Pace) -> Estimate:
    join = "to_do LEFT JOIN known USING (video_uri, video_generation)"
    ((size_bytes, known_videos, known_sec),) = database.execute(
        f"SELECT COALESCE(SUM(size_bytes), 0), COUNT(duration_sec), COALESCE(SUM(duration_sec), 0) FROM {join}"
    ).fetchall()
    unknown_bytes = database.execute(
        f"SELECT CAST(FLOOR(LN(size_bytes) / LN(2)) AS BIGINT) AS size_class, SUM(size_bytes) FROM {join} "
        "WHERE duration_sec IS NULL AND size_bytes > 0 GROUP BY size_class"
    ).fetchall()
    unknown_sec = sum(int(total) / bytes_per_sec(pace, size_class) for size_class, total in unknown_bytes)
    return Estimate(
        videos=totals.selected,
        skipped=totals.skipped,
        left=totals.left,
        size_bytes=int(size_bytes),
        known_videos=known_videos,
        known_sec=known_sec,
        video_sec=known_sec + unknown_sec,
        pace=pace.run_video_sec / pace.run_wall_sec if pace.run_wall_sec else None,
        typical_speed=WORKER_CORES * core_count_fps(config.model.name) / TYPICAL_FPS,
    )


def size_class_of(size_bytes: int) -> int:
    """Returns the class of a size, as in `Pace.bytes_per_sec`; that of one byte for an empty file."""
    return max(size_bytes, 1).bit_length() - 1


def bytes_per_sec(pace: Pace, size_class: int) -> float:
    """Returns the mean bytes per second of counted videos of a similar size: of the nearest class that has any."""
    if not pace.bytes_per_sec:
        return _TYPICAL_BYTES_PER_SEC
    return pace.bytes_per_sec[min(pace.bytes_per_sec, key=lambda known: (abs(known - size_class), known))]


def _insert_videos(database: duckdb.DuckDBPyConnection, table: str, videos: Sequence[VideoRef]) -> None:
    rows = pa.Table.from_batches([listing_batch(videos)], LISTING.arrow_schema)
    rows = rows.select(["video_uri", "video_generation", "video_updated"])
    _append(database, table, rows.append_column("size_bytes", pa.array([video.size_bytes for video in videos])))


def _append(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    database.register("batch", rows)
    database.execute(f"INSERT INTO {table} SELECT * FROM batch")
    database.unregister("batch")


def _listed(source: SourceConfig, account: LeftOutAccount) -> Iterator[VideoRef]:
    return itertools.chain.from_iterable(_list(source, pattern, account) for pattern in source.patterns)


def _list(source: SourceConfig, pattern: str, account: LeftOutAccount) -> Iterator[VideoRef]:
    for found in match_objects(pattern, source.suffixes, billing_project=source.billing_project):
        if not isinstance(found, VideoRef):
            account.add(found)
        elif source.listing_filter.takes(found):
            yield found
