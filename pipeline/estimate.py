"""Estimates what a run would count, without counting: `repcount run --dry_run`."""

from __future__ import annotations

import dataclasses
import logging
import sys
from collections.abc import Iterator, Mapping, Sequence

import duckdb
import pyarrow as pa

from pipeline.durations import Basis, SizeClass, choose_headers, estimate_durations, is_known
from pipeline.machines import core_count_fps
from pipeline.progress_display import announce
from pipeline.run_config import RunConfig, SourceConfig
from transforms.coders import VideoRefCoder
from transforms.decoding.header_sample import read_headers
from transforms.decoding.video_facts import VideoHeader
from transforms.left_out import LeftOutAccount, left_out_line
from transforms.matching import batched, match_videos
from transforms.records import SelectionTotals, VideoRef
from transforms.warehouse.base import EarlierRuns, selection_totals
from transforms.warehouse.parquet import TableWriter
from transforms.warehouse.rows import Provenance, listing_batch
from transforms.warehouse.schema import LISTING

_LOGGER = logging.getLogger(__name__)

_BATCH_ROWS = 10_000

WORKER_CORES = 2
"""Number of cores of the worker in the estimate of worker-hours."""

TYPICAL_FPS = 30.0
"""Frame rate in the estimate of worker-hours."""

_TABLES = """\
CREATE TABLE known (video_uri VARCHAR, video_generation BIGINT, duration_sec DOUBLE);
CREATE TABLE listing (video_uri VARCHAR, video_generation BIGINT, video_updated TIMESTAMPTZ, video VARCHAR,
  size_bytes BIGINT);
CREATE TABLE to_do AS FROM listing"""

_UNKNOWN = """\
SELECT to_do.*, CAST(FLOOR(LN(size_bytes) / LN(2)) AS BIGINT) AS size_class
FROM to_do LEFT JOIN known USING (video_uri, video_generation) WHERE duration_sec IS NULL AND size_bytes > 0"""
"""The videos to do whose duration the tables do not know; empty files have none."""


@dataclasses.dataclass(frozen=True)
class Estimate:
    """What a run would count, and how long that would take.

    Attributes:
      videos: Number of videos that the run would count.
      skipped: Number of listed videos that the tables already have.
      left: Number of listed videos beyond the limit, left to later runs.
      size_bytes: Total size in bytes of the videos to count.
      video_sec: Total duration in seconds of the videos to count; estimated where it is unknown.
      basis: What this duration rests on.
      pace: Seconds of video that earlier runs with this model counted per second; None if there were none.
      typical_speed: Seconds of video that a worker with two cores counts per second.
      left_out: Number of matched names that are no part of the run, by `LeftOut.kind`.
    """

    videos: int
    skipped: int
    left: int
    size_bytes: int
    video_sec: float
    basis: Basis
    pace: float | None
    typical_speed: float
    left_out: Mapping[str, int] = dataclasses.field(default_factory=dict)

    def lines(self) -> list[str]:
        """Returns the lines to print."""
        others = [f"{self.skipped:,} are in the tables already"] if self.skipped else []
        others += [f"{self.left:,} are left out by --limit"] if self.left else []
        lines = ["; ".join([f"would count {self.videos:,} videos", *others])]
        if self.videos:
            source = f" ({self.basis})" if str(self.basis) else ""
            worker_sec = self.video_sec / self.typical_speed
            lines += [
                f"bytes: {self.size_bytes:,}",
                f"minutes of video: about {self.video_sec / 60:,.1f}{source}",
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

    Where the tables know too few videos of similar size, it reads the headers of some videos to count, in decoder processes.
    The listing is staged as that of a run is, so that the database joins it with its own rows. It is deleted at the end.

    Args:
      config: The run.
      provenance: What its rows would say about it.

    Raises:
      WarehouseError: The tables cannot be read.
      BeamIOError: An input cannot be listed.
    """
    account = LeftOutAccount()
    earlier = EarlierRuns({}, {}, 0.0, 0.0)
    with duckdb.connect() as database:
        database.execute(_TABLES)
        if config.warehouse.is_ready():
            totals = _select_new(database, config, provenance, account)
            earlier = config.warehouse.earlier_runs(provenance.model_key)
        else:
            totals = _select_all(database, config.source, account)
        for lost in account.lost:
            _LOGGER.error("%s", lost)
        return dataclasses.replace(_sum_up(database, config, totals, earlier), left_out=account.numbers)


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


def _sum_up(database: duckdb.DuckDBPyConnection, config: RunConfig, totals: SelectionTotals, earlier: EarlierRuns) -> Estimate:
    join = "to_do LEFT JOIN known USING (video_uri, video_generation)"
    ((size_bytes, known_videos, known_sec),) = database.execute(
        f"SELECT COALESCE(SUM(size_bytes), 0), COUNT(duration_sec), COALESCE(SUM(duration_sec), 0) FROM {join}"
    ).fetchall()
    classes = {
        size_class: SizeClass(videos, int(class_bytes))
        for size_class, videos, class_bytes in database.execute(
            f"SELECT size_class, COUNT(*), SUM(size_bytes) FROM ({_UNKNOWN}) GROUP BY size_class"
        ).fetchall()
    }
    sample = _sample(database, {number: found.videos for number, found in classes.items() if not is_known(earlier, number)})
    headers: Mapping[VideoRef, VideoHeader] = {}
    if sample:
        with announce(f"Reading the headers of {len(sample):,} videos …"):
            headers = read_headers(sample, config.decoding)
    # A run gives up a video at its longest duration.
    durations = [(video.size_bytes, min(header.duration_sec, config.decoding.max_sec)) for video, header in headers.items()]
    unknown_sec, basis = estimate_durations(
        classes, earlier, durations, Basis(known_videos, known_sec, tried_headers=len(sample))
    )
    return Estimate(
        videos=totals.selected,
        skipped=totals.skipped,
        left=totals.left,
        size_bytes=int(size_bytes),
        video_sec=known_sec + unknown_sec,
        basis=basis,
        pace=earlier.run_video_sec / earlier.run_wall_sec if earlier.run_wall_sec else None,
        typical_speed=WORKER_CORES * core_count_fps(config.model.name, has_gpu=config.model.require_gpu) / TYPICAL_FPS,
    )


def _sample(database: duckdb.DuckDBPyConnection, videos: Mapping[int, int]) -> list[VideoRef]:
    """Returns videos of unknown duration whose headers to read: of each size class, by a hash of their names.

    Args:
      database: Database with `to_do` and `known`.
      videos: Number of videos in each class to look at.
    """
    coder, sample = VideoRefCoder(), []
    for size_class, num_headers in choose_headers(videos).items():
        rows = database.execute(
            f"SELECT video FROM ({_UNKNOWN}) WHERE size_class = $size_class "
            "ORDER BY MD5(video_uri), video_uri, video_generation LIMIT $num_headers",
            {"size_class": size_class, "num_headers": num_headers},
        ).fetchall()
        sample += [coder.decode(video.encode("ascii")) for (video,) in rows]
    return sample


def _insert_videos(database: duckdb.DuckDBPyConnection, table: str, videos: Sequence[VideoRef]) -> None:
    rows = pa.Table.from_batches([listing_batch(videos)], LISTING.arrow_schema)
    rows = rows.select(["video_uri", "video_generation", "video_updated", "video"])
    _append(database, table, rows.append_column("size_bytes", pa.array([video.size_bytes for video in videos])))


def _append(database: duckdb.DuckDBPyConnection, table: str, rows: pa.Table) -> None:
    database.register("batch", rows)
    database.execute(f"INSERT INTO {table} SELECT * FROM batch")
    database.unregister("batch")


def _listed(source: SourceConfig, account: LeftOutAccount) -> Iterator[VideoRef]:
    for pattern in source.patterns:
        yield from filter(source.listing_filter.takes, match_videos(pattern, source.suffixes, account, source.billing_project))
