"""Measures selection: listing many videos and finding the few new ones, compared with listing alone.

    python -m benchmarks.selection [--done 100000] [--new 100] [--cloud]

Creates empty objects with rows of `video_counts` for most of them. Then lists and selects in a pipeline as a run does, in a
process of its own to measure its peak memory; and for comparison only lists. The objects are local files and the tables a
DuckDB file. With --cloud they are on the Cloud Storage and BigQuery servers of the tests, which run on the same cores.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime
import multiprocessing
import os
import resource
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.report import print_result
from transforms.listing import ListVideos
from transforms.matching import list_videos
from transforms.progress import WriteTotals, read_totals
from transforms.records import Selection, VideoRef
from transforms.selection import SelectVideos
from transforms.warehouse.base import Warehouse
from transforms.warehouse.open import open_warehouse
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance
from transforms.warehouse.schema import FRAME_CURVES, VIDEO_COUNTS, ColumnType, Mode

_FOLDERS = 100

_BUCKET = "gym"

_VALUES = {ColumnType.STRING: "", ColumnType.INT64: 0, ColumnType.FLOAT64: 0.0}
"""Values of REQUIRED columns that nothing here reads."""


def make_provenance(run_id: str) -> Provenance:
    """Returns the provenance of a run that starts now."""
    now = datetime.datetime.now(datetime.UTC)
    return Provenance(run_id, now, "lite", "ab", "{}", "1", "float32")


def object_names(done: int, new: int) -> list[str]:
    """Returns the names of objects, in folders of equal size and a folder for new ones."""
    names = [f"{index % _FOLDERS:03d}/{index:07d}.mp4" for index in range(done)]
    return names + [f"new/{index}.mp4" for index in range(new)]


def fill_tables(warehouse: Warehouse, done: list[VideoRef]) -> None:
    """Commits a run with a row for each video, in which columns that nothing here reads are 0."""
    warehouse.prepare()
    provenance = make_provenance("before")
    known = {
        "video_uri": [video.uri for video in done],
        "video_generation": [video.generation for video in done],
        "model": [provenance.model] * len(done),
        "options_hash": [provenance.options_hash] * len(done),
        "upload_date": [video.updated.date() for video in done],
        "video_updated": [video.updated for video in done],
        "run_started": [provenance.run_started] * len(done),
    }
    files = []
    for table in (VIDEO_COUNTS, FRAME_CURVES):
        columns = []
        for column in table.columns:
            value = [] if column.mode is Mode.REPEATED else _VALUES.get(column.type) if column.mode is Mode.REQUIRED else None
            columns.append(pa.array(known.get(column.name, [value] * len(done)), column.arrow_type))
        path = FileSystems.join(warehouse.staging_folder(provenance.run_id), table.name, "rows.parquet")
        with FileSystems.create(path) as stream:
            pq.write_table(pa.Table.from_arrays(columns, schema=table.arrow_schema), stream)
        files.append(StagedFile(table.name, path, len(done), 0))
    warehouse.commit(provenance, files, listed=len(done), skipped=0, run_ended=provenance.run_started)
    warehouse.remove_staging(provenance.run_id)


def list_and_select(pattern: str, output: str, temp_location: str, totals_path: str) -> int:
    """Lists and selects as a run does; returns the number of new videos."""
    provenance, warehouse = make_provenance("benchmark"), open_warehouse(output, temp_location)
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        listed = pipeline | ListVideos([pattern], warehouse.staging_folder(provenance.run_id))
        selected = listed | SelectVideos(warehouse, provenance, Selection())
        _ = selected["totals"] | WriteTotals(totals_path)
    warehouse.remove_staging(provenance.run_id)
    totals = read_totals(totals_path)
    return totals.selected if totals else 0


def list_only(pattern: str, output: str, temp_location: str, totals_path: str) -> int:
    """Lists and returns the number of videos."""
    return sum(1 for _ in list_videos(pattern))


Work = Callable[[str, str, str, str], int]


def _measured(work: Work, arguments: tuple[str, str, str, str], connection: Connection) -> None:
    started = time.perf_counter()
    found = work(*arguments)
    seconds = time.perf_counter() - started
    connection.send((found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(work: Work, *arguments: str) -> tuple[int, float, float]:
    """Runs `work` in a process of its own; returns its result, the seconds it took, and its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, arguments, sender))
    process.start()
    result = receiver.recv()
    process.join()
    return result


@contextlib.contextmanager
def local_scene(folder: Path, done: int, new: int) -> Iterator[tuple[str, str, str]]:
    """Creates local files and a DuckDB file; yields their pattern, and the output and temp_location of the tables."""
    for name in object_names(done, new):
        path = folder / "videos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    pattern, output = str(folder / "videos"), f"duckdb:{folder}/counts.duckdb"
    fill_tables(open_warehouse(output), [video for video in list_videos(pattern) if "/new/" not in video.uri])
    yield pattern, output, ""


@contextlib.contextmanager
def cloud_scene(folder: Path, done: int, new: int) -> Iterator[tuple[str, str, str]]:
    """Creates a bucket and a data set; yields the same as `local_scene`."""
    from tests.google_cloud import servers

    with servers.Servers(folder / "servers", {_BUCKET: object_names(done, new)}) as running:
        os.environ.update(running.variables)
        cloud = servers.Cloud(running)
        pattern = f"gs://{_BUCKET}/**"
        warehouse = open_warehouse(cloud.output, cloud.temp_location)
        fill_tables(warehouse, [video for video in list_videos(pattern) if "/new/" not in video.uri])
        yield pattern, cloud.output, cloud.temp_location


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--done", type=int, default=100_000, help="videos in the tables. Default: 100000")
    parser.add_argument("--new", type=int, default=100, help="new videos. Default: 100")
    parser.add_argument("--cloud", action="store_true", help="use local servers for Cloud Storage and BigQuery")
    args = parser.parse_args(argv)
    scene = cloud_scene if args.cloud else local_scene
    with tempfile.TemporaryDirectory() as name, scene(Path(name), args.done, args.new) as places:
        listed, list_sec, list_mib = measure(list_only, *places, f"{name}/totals")
        print(f"listed {listed:,} videos: {list_sec:.1f} s, peak {list_mib:,.0f} MiB", flush=True)
        selected, sec, mib = measure(list_and_select, *places, f"{name}/totals")
        print(f"listed them and selected {selected:,}: {sec:.1f} s, peak {mib:,.0f} MiB", flush=True)
    if (listed, selected) != (args.done + args.new, args.new):
        raise SystemExit(f"expected {args.done + args.new} videos and {args.new} new ones. Received: {listed}, {selected}")
    print_result(
        "selection",
        scene=scene.__name__,
        listed=listed,
        selected=selected,
        list_sec=round(list_sec, 2),
        list_and_select_sec=round(sec, 2),
        ratio=round(sec / list_sec, 2),
        peak_mib=round(mib),
    )


if __name__ == "__main__":
    main()
