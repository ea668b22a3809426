"""Estimates what a run would count, without counting: `repcount run --dry_run`."""

from __future__ import annotations

import dataclasses
import itertools
import logging
from collections.abc import Iterable, Iterator, Mapping

import duckdb
import pyarrow as pa

from pipeline.machines import core_count_fps
from pipeline.run_config import RunConfig, SourceConfig
from transforms.left_out import LeftOutAccount, left_out_line
from transforms.matching import batched, match_objects
from transforms.records import VideoRef
from transforms.warehouse import sql
from transforms.warehouse.base import Pace
from transforms.warehouse.rows import Provenance, listing_batch
from transforms.warehouse.schema import LISTING

_LOGGER = logging.getLogger(__name__)

_BATCH_ROWS = 10_000

_TYPICAL_BYTES_PER_SEC = 750_000
"""Bytes per second of a phone's video, 6 Mbit/s. Used as long as no video has been counted."""

_WORKER_CORES = 2
"""Number of cores of the worker in the estimate of worker-hours."""

_TYPICAL_FPS = 30.0
"""Frame rate in the estimate of worker-hours."""

_TABLES = """\
CREATE TABLE done (video_uri VARCHAR, video_generation BIGINT);
CREATE TABLE known (video_uri VARCHAR, video_generation BIGINT, duration_sec DOUBLE);
CREATE TABLE listing (video_uri VARCHAR, video_generation BIGINT, video_updated TIMESTAMPTZ, size_bytes BIGINT)"""


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
    """Returns the estimate of a run, from a listing of its videos and the rows in the tables; writes nothing.

    Raises:
      WarehouseError: The tables cannot be read.
      BeamIOError: An input cannot be listed.
    """
    selection = config.source.selection
    warehouse = config.warehouse
    key = {"model": provenance.model_key, "options_hash": provenance.options_hash}
    requeue = {"requeue": list(selection.requeue)} if selection.requeue else {}
    pace = Pace(0, 0.0, 0.0, 0.0)
    with duckdb.connect() as database:
        database.execute(_TABLES)
        if warehouse.is_ready():
            if selection.new_only:
                done = warehouse.query(sql.done_videos(warehouse.dialect, selection), key | requeue)
                _insert(database, "done", done)
            _insert(database, "known", warehouse.query(sql.durations(warehouse.dialect), {}))
            pace = warehouse.pace(provenance.model_key)
        account = LeftOutAccount()
        _insert_listing(database, config.source, account)
        for lost in account.lost:
            _LOGGER.error("%s", lost)
        return dataclasses.replace(_sum_up(database, config, pace), left_out=account.numbers)


def _sum_up(database: duckdb.DuckDBPyConnection, config: RunConfig, pace: Pace) -> Estimate:
    database.execute(
        "CREATE TABLE to_do AS SELECT DISTINCT ON (video_uri, video_generation) * FROM listing "
        "ANTI JOIN done USING (video_uri, video_generation)"
    )
    ((listed,),) = database.execute("SELECT COUNT(DISTINCT (video_uri, video_generation)) FROM listing").fetchall()
    ((to_do,),) = database.execute("SELECT COUNT(*) FROM to_do").fetchall()
    limit = config.source.selection.limit
    videos = to_do if limit is None else min(to_do, limit)
    ((size_bytes, known_videos, known_bytes, known_sec),) = database.execute(
        """
        SELECT COALESCE(SUM(size_bytes), 0), COUNT(duration_sec),
          COALESCE(SUM(size_bytes) FILTER (duration_sec IS NOT NULL), 0), COALESCE(SUM(duration_sec), 0)
        FROM (SELECT * FROM to_do ORDER BY video_updated, video_uri, video_generation LIMIT $limit)
        LEFT JOIN (SELECT video_uri, video_generation, MAX(duration_sec) AS duration_sec FROM known GROUP BY ALL)
        USING (video_uri, video_generation)
        """,
        {"limit": videos},
    ).fetchall()
    bytes_per_sec = pace.size_bytes / pace.duration_sec if pace.duration_sec else _TYPICAL_BYTES_PER_SEC
    return Estimate(
        videos=videos,
        skipped=listed - to_do,
        left=to_do - videos,
        size_bytes=int(size_bytes),
        known_videos=known_videos,
        known_sec=known_sec,
        video_sec=known_sec + (int(size_bytes) - int(known_bytes)) / bytes_per_sec,
        pace=pace.run_video_sec / pace.run_wall_sec if pace.run_wall_sec else None,
        typical_speed=_WORKER_CORES * core_count_fps(config.model.name) / _TYPICAL_FPS,
    )


def _insert(database: duckdb.DuckDBPyConnection, table: str, rows: Iterable[tuple[object, ...]]) -> None:
    for batch in batched(rows, _BATCH_ROWS):
        columns = [pa.array(column) for column in zip(*batch, strict=True)]
        _append(database, table, pa.table(columns, names=[f"column_{number}" for number in range(len(columns))]))


def _insert_listing(database: duckdb.DuckDBPyConnection, source: SourceConfig, account: LeftOutAccount) -> None:
    listed = itertools.chain.from_iterable(_list(source, pattern, account) for pattern in source.patterns)
    for videos in batched(listed, _BATCH_ROWS):
        rows = pa.Table.from_batches([listing_batch(videos)], LISTING.arrow_schema)
        rows = rows.select(["video_uri", "video_generation", "video_updated"])
        _append(database, "listing", rows.append_column("size_bytes", pa.array([video.size_bytes for video in videos])))


def _append(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    database.register("batch", rows)
    database.execute(f"INSERT INTO {table} SELECT * FROM batch")
    database.unregister("batch")


def _list(source: SourceConfig, pattern: str, account: LeftOutAccount) -> Iterator[VideoRef]:
    for found in match_objects(pattern, source.suffixes, billing_project=source.billing_project):
        if not isinstance(found, VideoRef):
            account.add(found)
        elif source.listing_filter.takes(found):
            yield found
