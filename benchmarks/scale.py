"""Measures a run over very many videos, through the real steps with a decoder and a model that cost nothing.

    python -m benchmarks.scale [--videos 20000 100000] [--workers 2]

The listing is made up. Selecting, grouping, counting, staging and committing are those of a run, on Beam's local runner with
several worker processes, into DuckDB. Each video has two seconds of identical frames, which a worker creates. Prints videos per
second, and how much memory each video adds to the runner, which keeps shuffled data in memory where Dataflow keeps it on disk.
Also prints the size in bytes of a video between steps.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import pickle
import resource
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.instant_parts import InstantScorer, decode
from benchmarks.report import print_result
from benchmarks.selection import make_provenance
from model.counting_options import CountingOptions
from transforms.counting import CountVideos
from transforms.evidence import reduce_or_fail
from transforms.inference import RepNetModelHandler, ScoreChunks
from transforms.records import ChunkScores, Selection, VideoRef
from transforms.selection import SelectVideos
from transforms.staging import CommitRows, StageRows
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.parquet import StagedFile, TableWriter
from transforms.warehouse.rows import Provenance, listing_batch
from transforms.warehouse.schema import LISTING

_BATCH = 10_000

_DAY = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)


def make_listing(num_videos: int, warehouse: DuckDBWarehouse, provenance: Provenance) -> list[StagedFile]:
    """Stages a listing, as `ListVideos` does."""
    writer = TableWriter(warehouse.staging_folder(provenance.run_id), LISTING)
    for first in range(0, num_videos, _BATCH):
        numbers = range(first, min(first + _BATCH, num_videos))
        writer.write(
            listing_batch([VideoRef(f"gs://gym/{_DAY:%Y-%m-%d}/{n:07d}.mp4", n + 1, 10_000_000, _DAY) for n in numbers])
        )
    return writer.close()


def run_night(num_videos: int, workers: int, database: str) -> int:
    """Runs the steps; returns the number of videos counted."""
    warehouse, provenance = DuckDBWarehouse(database), make_provenance("night")
    warehouse.prepare()
    folder = warehouse.staging_folder(provenance.run_id)
    options = ["--runner=FnApiRunner"]
    if workers > 1:
        options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    with beam.Pipeline(options=PipelineOptions(options)) as pipeline:
        listed = pipeline | "Listed" >> beam.Create(make_listing(num_videos, warehouse, provenance))
        selected = listed | SelectVideos(warehouse, provenance, Selection())
        decoded = selected["videos"] | "Decode" >> beam.Map(decode)
        scored = decoded | ScoreChunks(RepNetModelHandler(InstantScorer))
        counted = scored | CountVideos(CountingOptions(), 1)
        staged = counted | StageRows(folder, provenance)
        _ = {"staged": staged, "totals": selected["totals"]} | CommitRows(warehouse, provenance)
    warehouse.remove_staging(provenance.run_id)
    totals = warehouse.run_totals(provenance.run_id)
    return totals.counted if totals else 0


def _measured(num_videos: int, workers: int, connection: Connection) -> None:
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        counted = run_night(num_videos, workers, str(Path(folder, "night.duckdb")))
        seconds = time.perf_counter() - started
        size = Path(folder, "night.duckdb").stat().st_size
    peaks = [resource.getrusage(who).ru_maxrss << 10 for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    connection.send((counted, seconds, *peaks, size))


def measure(num_videos: int, workers: int) -> dict[str, float]:
    """Runs the steps in a process of its own; returns seconds, peak memory of runner and worker, and bytes of rows."""
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_measured, args=(num_videos, workers, theirs))
    process.start()
    theirs.close()
    counted, seconds, runner_bytes, worker_bytes, row_bytes = ours.recv()
    process.join()
    if counted != num_videos:
        raise SystemExit(f"expected {num_videos} videos to be counted. Received: {counted}")
    return {"seconds": seconds, "runner_bytes": runner_bytes, "worker_bytes": worker_bytes, "row_bytes": row_bytes}


def element_bytes() -> Iterator[tuple[str, int]]:
    """Yields the step before and the size in bytes of a video of two seconds between steps."""
    video = VideoRef(f"gs://gym/{_DAY:%Y-%m-%d}/0000000.mp4", 1, 10_000_000, _DAY)
    chunk = decode(video)
    yield "selected", len(pickle.dumps(video))
    yield "decoded", len(pickle.dumps(chunk))
    scores = ChunkScores(video, 0, dict(InstantScorer().score(chunk.frames)), chunk.times_sec, chunk.facts)
    yield "scored", len(pickle.dumps(scores))
    yield "reduced", len(pickle.dumps(reduce_or_fail(scores, CountingOptions(), 1)))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--videos", type=int, nargs="+", default=[20_000, 100_000], help="number of videos of each run. Default: 20000 100000"
    )
    parser.add_argument("--workers", type=int, default=2, help="number of worker processes. Default: 2")
    args = parser.parse_args(argv)
    sizes = dict(element_bytes())
    print(", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()), "per video of two seconds")
    nights = {}
    for num_videos in args.videos:
        night = measure(num_videos, args.workers)
        nights[num_videos] = {name: round(value, 1) for name, value in night.items()}
        print(
            f"{num_videos:,} videos: {night['seconds']:,.0f} s, {num_videos / night['seconds']:,.0f} videos/s; runner "
            f"{night['runner_bytes'] / 2**20:,.0f} MiB, a worker {night['worker_bytes'] / 2**20:,.0f} MiB, rows "
            f"{night['row_bytes'] / num_videos:,.0f} bytes a video",
            flush=True,
        )
    extra: dict[str, float] = {}
    if len(args.videos) > 1:
        few, many = min(args.videos), max(args.videos)
        extra = {
            name: round((nights[many][name] - nights[few][name]) / (many - few)) for name in ("runner_bytes", "worker_bytes")
        }
        print(f"each video adds {extra['runner_bytes']:,.0f} bytes to the runner and {extra['worker_bytes']:,.0f} to a worker")
    print_result("scale", workers=args.workers, element_bytes=sizes, nights=nights, bytes_per_video=extra)


if __name__ == "__main__":
    main()
