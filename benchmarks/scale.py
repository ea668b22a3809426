"""Measures runs over very many videos in slices, with a decoder and a model that cost nothing.

    nice python -m benchmarks.scale [--videos 20000 100000] [--slice_videos 20000] [--workers 2]

Everything else is that of `repcount run` on one machine: listing, slices, notes on attempts, counting, staging and committing
into DuckDB, on Beam's local runner with worker processes. The files are empty space on the disk, and each counts as two seconds
of equal frames. The memory of the runner and of its workers is read every quarter second. Beam's local runner keeps what it
shuffles in memory, so memory grows within a slice. It must not grow from one slice to the next. Needs Linux.

Prints videos per second, and the runner's memory at the start, the peak and the end of each slice. Then prints what each video
adds to it within a slice and from slice to slice, and the size in bytes of a video between steps.
"""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import functools
import math
import multiprocessing
import pickle
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from unittest import mock

import duckdb

from benchmarks.instant_parts import InstantDecoder, InstantScorer, samples
from benchmarks.processes import MemorySample, sample_memory
from benchmarks.report import print_result
from model.counting_options import CountingOptions
from pipeline.execute import execute
from pipeline.run_config import RunConfig, SourceConfig, make_pipeline_options
from transforms.decoding.decode_videos import DecodeVideos
from transforms.decoding.options import DecodingOptions
from transforms.evidence import reduce_or_fail
from transforms.inference import RepNetModelHandler
from transforms.records import ChunkScores, FrameChunk, VideoRef
from transforms.scoring import ModelConfig
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

_FOLDER_VIDEOS = 1000

_VIDEO_BYTES = 10_000_000

_INTERVAL_SEC = 0.25

_STRIDES = (1,)


@dataclasses.dataclass(frozen=True)
class SliceMemory:
    """What a slice of a run took.

    Attributes:
      videos: Number of videos that it counted.
      seconds: Wall time from its start to its commit.
      first_bytes: Memory of the runner when the slice began.
      runner_bytes: Highest memory of the runner.
      worker_bytes: Highest memory of a worker process.
      left_bytes: Memory of the runner when the slice was over, just before the next one.
    """

    videos: int
    seconds: float
    first_bytes: int
    runner_bytes: int
    worker_bytes: int
    left_bytes: int


@dataclasses.dataclass(frozen=True)
class Night:
    """What a run took.

    Attributes:
      seconds: Wall time from its start to its end.
      row_bytes: Size of the tables.
      slices: What each slice took, in order.
    """

    seconds: float
    row_bytes: int
    slices: tuple[SliceMemory, ...]

    @property
    def runner_bytes(self) -> int:
        """Highest memory of the runner."""
        return max(part.runner_bytes for part in self.slices)

    @property
    def worker_bytes(self) -> int:
        """Highest memory of a worker process."""
        return max(part.worker_bytes for part in self.slices)

    @property
    def within_slice(self) -> float:
        """Bytes that each video adds to the runner's memory within a slice: mean over the slices."""
        return statistics.mean((part.runner_bytes - part.first_bytes) / part.videos for part in self.slices)

    @property
    def across_slices(self) -> float:
        """Bytes that each video adds to the runner's peak from slice to slice; 0 if there is one slice."""
        later_videos = sum(part.videos for part in self.slices[1:])
        return (self.slices[-1].runner_bytes - self.slices[0].runner_bytes) / later_videos if later_videos else 0.0

    @property
    def last_to_first(self) -> float:
        """The runner's peak in the last slice against that in the first."""
        return self.slices[-1].runner_bytes / self.slices[0].runner_bytes

    def as_json(self) -> dict[str, object]:
        """Returns all figures by name."""
        return {
            "seconds": round(self.seconds, 1),
            "runner_bytes": self.runner_bytes,
            "worker_bytes": self.worker_bytes,
            "row_bytes": self.row_bytes,
            "bytes_per_video_within_slice": round(self.within_slice),
            "bytes_per_video_across_slices": round(self.across_slices),
            "last_to_first": round(self.last_to_first, 3),
            "slices": [dataclasses.asdict(part) for part in self.slices],
        }


def make_files(folder: Path, num_videos: int) -> None:
    """Makes files of 10 MB that take no space on the disk."""
    for number in range(num_videos):
        path = folder / f"{number // _FOLDER_VIDEOS:04d}" / f"{number:07d}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            file.truncate(_VIDEO_BYTES)


def run_night(folder: Path, slices: int, workers: int) -> None:
    """Counts the videos of a folder into `counts.duckdb` beside it, as `repcount run` does; raises SystemExit if that fails."""
    options = ["--runner=FnApiRunner"]
    if workers > 1:
        options += ["--direct_running_mode=multi_processing", f"--direct_num_workers={workers}"]
    config = RunConfig(
        source=SourceConfig((f"{folder}/**/*.mp4",)),
        decoding=DecodingOptions(),
        model=ModelConfig("instant", "f" * 64, _STRIDES, "float32", 1),
        counting=CountingOptions(),
        warehouse=DuckDBWarehouse(str(_database(folder))),
        slices=slices,
    )
    with mock.patch("pipeline.graph.DecodeVideos", functools.partial(DecodeVideos, make_decoder=InstantDecoder)):
        outcome = execute(config, make_pipeline_options(options), RepNetModelHandler(InstantScorer))
    if outcome.problem:
        raise SystemExit(outcome.problem)


def _database(folder: Path) -> Path:
    return folder.parent / "counts.duckdb"


def _run_and_tell(folder: Path, slices: int, workers: int, connection: Connection) -> None:
    with connection:
        started_sec = time.perf_counter()
        run_night(folder, slices, workers)
        connection.send(time.perf_counter() - started_sec)
        connection.recv()  # until the last sample is taken


def divide(samples_taken: Sequence[MemorySample], rows: Sequence[tuple[int, float, float]]) -> list[SliceMemory]:
    """Returns the memory of each slice: from its start to the start of the next one.

    Args:
      samples_taken: What was read, in order.
      rows: Number of videos, and start and end in seconds since 1970, of each slice in order.
    """
    slices = []
    ends = [started_sec for _, started_sec, _ in rows[1:]] + [float("inf")]
    for (videos, started_sec, ended_sec), over_sec in zip(rows, ends, strict=True):
        during = [sample for sample in samples_taken if started_sec <= sample.unix_sec < over_sec]
        slices.append(
            SliceMemory(
                videos,
                ended_sec - started_sec,
                during[0].own_bytes,
                max(sample.own_bytes for sample in during),
                max(sample.child_bytes for sample in during),
                during[-1].own_bytes,
            )
        )
    return slices


def read_slices(database: Path) -> list[tuple[int, float, float]]:
    """Returns the number of videos of each slice in the tables, and its start and end in seconds since 1970."""
    with duckdb.connect(str(database), read_only=True) as connection:
        return connection.execute(
            "SELECT counted, EPOCH(run_started), EPOCH(run_ended) FROM runs WHERE counted > 0 ORDER BY run_started"
        ).fetchall()


def check_rows(database: Path, num_videos: int) -> None:
    """Raises SystemExit unless each listed video has exactly one row of each kind."""
    with duckdb.connect(str(database), read_only=True) as connection:
        found = connection.execute(
            "SELECT (SELECT SUM(listed) FROM runs), (SELECT COUNT(*) FROM video_counts), "
            "(SELECT COUNT(DISTINCT video_uri) FROM video_counts), (SELECT COUNT(*) FROM frame_curves)"
        ).fetchall()
    if found != [(num_videos,) * 4]:
        raise SystemExit(f"expected {num_videos} videos, counts and curves. Received: {found}")


def measure(num_videos: int, slices: int, workers: int) -> Night:
    """Counts made-up videos in a process of its own."""
    context = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory(prefix="repcount-scale-") as name:
        folder = Path(name, "videos")
        make_files(folder, num_videos)
        ours, theirs = context.Pipe()
        process = context.Process(target=_run_and_tell, args=(folder, slices, workers, theirs))
        process.start()
        theirs.close()
        taken: list[MemorySample] = []
        while not ours.poll(_INTERVAL_SEC):
            taken.append(sample_memory(process.pid or 0))
        try:
            seconds = ours.recv()
        except EOFError:
            process.join()
            raise SystemExit("the run failed") from None
        taken.append(sample_memory(process.pid or 0))
        ours.send(None)
        process.join()
        database = _database(folder)
        check_rows(database, num_videos)
        return Night(seconds, database.stat().st_size, tuple(divide(taken, read_slices(database))))


def element_bytes() -> Iterator[tuple[str, int]]:
    """Yields the step before and the size in bytes of a video of two seconds between steps."""
    day = datetime.datetime(2026, 1, 31, tzinfo=datetime.UTC)
    video = VideoRef(f"gs://gym/{day:%Y-%m-%d}/0000000.mp4", 1, _VIDEO_BYTES, day)
    read = samples()
    chunk = FrameChunk(video, 0, read.frames, read.times_sec, read.facts)
    yield "selected", len(pickle.dumps(video))
    yield "decoded", len(pickle.dumps(chunk))
    scores = ChunkScores(video, 0, dict(InstantScorer().score(chunk.frames)), chunk.times_sec, chunk.facts)
    yield "scored", len(pickle.dumps(scores))
    yield "reduced", len(pickle.dumps(reduce_or_fail(scores, CountingOptions(), 1)))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurement and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--videos", type=int, nargs="+", default=[20_000, 100_000], help="number of videos of each run. Default: 20000 100000"
    )
    parser.add_argument("--slice_videos", type=int, default=20_000, help="most videos of a slice. Default: 20000")
    parser.add_argument("--workers", type=int, default=2, help="number of worker processes. Default: 2")
    args = parser.parse_args(argv)
    sizes = dict(element_bytes())
    print(", ".join(f"{name} {size:,} bytes" for name, size in sizes.items()), "per video of two seconds", flush=True)
    nights = {}
    for num_videos in args.videos:
        night = nights[num_videos] = measure(num_videos, math.ceil(num_videos / args.slice_videos), args.workers)
        for number, part in enumerate(night.slices, start=1):
            print(
                f"slice {number}: {part.videos:,} videos, {part.videos / part.seconds:,.0f} videos/s; runner from "
                f"{_mib(part.first_bytes)} to {_mib(part.runner_bytes)}, {_mib(part.left_bytes)} at its end; a worker "
                f"{_mib(part.worker_bytes)}"
            )
        print(
            f"{num_videos:,} videos, each with its rows: {night.seconds:,.0f} s, {num_videos / night.seconds:,.0f} videos/s; "
            f"runner {_mib(night.runner_bytes)}, a worker {_mib(night.worker_bytes)}, rows {night.row_bytes / num_videos:,.0f} "
            f"bytes a video; a video adds {night.within_slice:,.0f} bytes to the runner within a slice and "
            f"{night.across_slices:,.0f} from slice to slice; last slice against the first: {night.last_to_first:.2f}",
            flush=True,
        )
    extra: dict[str, float] = {}
    if len(args.videos) > 1:
        few, many = min(args.videos), max(args.videos)
        extra = {
            name: round((getattr(nights[many], name) - getattr(nights[few], name)) / (many - few))
            for name in ("runner_bytes", "worker_bytes")
        }
        print(
            f"from {few:,} to {many:,}, each video adds {extra['runner_bytes']:,.0f} bytes to the runner and "
            f"{extra['worker_bytes']:,.0f} to a worker"
        )
    print_result(
        "scale",
        workers=args.workers,
        slice_videos=args.slice_videos,
        element_bytes=sizes,
        nights={num_videos: night.as_json() for num_videos, night in nights.items()},
        bytes_per_video=extra,
    )


def _mib(size_bytes: float) -> str:
    return f"{size_bytes / 2**20:,.0f} MiB"


if __name__ == "__main__":
    main()
