"""Finding out what is new: a listing of many videos, nearly all of which the tables have, against listing them alone.

    python -m benchmarks.selection [--done 100000] [--new 100]

Makes empty files, and rows of `video_counts` for them in a DuckDB file, then lists and selects in a pipeline as a run does, in a
process of its own whose peak of resident memory the system tells; and, beside it, only lists.
"""

from __future__ import annotations

import argparse
import datetime
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from pathlib import Path

import apache_beam as beam
import duckdb
from apache_beam.options.pipeline_options import PipelineOptions

from benchmarks.report import print_result
from transforms.duckdb_warehouse import DuckDBWarehouse
from transforms.listing import ListVideos, list_videos
from transforms.progress import TellTotals, read_totals
from transforms.rows import Provenance
from transforms.selection import SelectVideos
from transforms.warehouse import Selection

_FOLDERS = 100

_FILL = """\
INSERT INTO video_counts (
  video_uri, video_generation, model, options_hash, upload_date, video_updated, count, count_rounded, confidence, stride,
  decoded_frames, scored_frames, width, height, rotation_degrees, size_bytes, run_id, run_started, model_sha256, options_json,
  code_version, precision
)
SELECT
  uri, generation, $model, $options_hash, CAST(make_timestamp(generation // 1000) AS DATE), make_timestamp(generation // 1000), 8,
  8, 0.5, 2, 300, 300, 640, 360, 0, 1000, 'before', now(), 'ab', '{}', '1', 'float32'
FROM done"""


def make_provenance() -> Provenance:
    """Returns a run that starts now."""
    now = datetime.datetime.now(datetime.timezone.utc)
    return Provenance("benchmark", now, "lite", "ab", "{}", "1", "float32")


def draw_files(folder: Path, number: int) -> None:
    """Makes empty files, in folders of equal size."""
    for index in range(number):
        path = folder / f"{index % _FOLDERS:03d}" / f"{index:07d}.mp4"
        path.parent.mkdir(exist_ok=True)
        path.touch()


def fill_tables(warehouse: DuckDBWarehouse, folder: Path) -> None:
    """Writes a row for every file there is."""
    warehouse.prepare()
    provenance = make_provenance()
    done = [(video.uri, video.generation) for video in list_videos(str(folder))]
    with duckdb.connect(warehouse.path) as connection:
        connection.execute("CREATE TEMP TABLE done (uri VARCHAR, generation BIGINT)")
        uris, generations = zip(*done, strict=True)
        connection.execute(
            "INSERT INTO done SELECT UNNEST($uris), UNNEST($generations)",
            {"uris": list(uris), "generations": list(generations)},
        )
        connection.execute(_FILL, {"model": provenance.model, "options_hash": provenance.options_hash})


def list_and_select(folder: str, database: str) -> int:
    """Lists and selects as a run does; returns how many videos are new."""
    provenance, warehouse = make_provenance(), DuckDBWarehouse(database)
    told = f"{database}.told"
    with beam.Pipeline(options=PipelineOptions(["--runner=FnApiRunner"])) as pipeline:
        listed = pipeline | ListVideos([folder], warehouse.staging_folder(provenance.run_id))
        selected = listed | SelectVideos(warehouse, provenance, Selection())
        _ = selected["totals"] | TellTotals(told)
    warehouse.remove_staging(provenance.run_id)
    totals = read_totals(told)
    return totals.selected if totals else 0


def list_only(folder: str, database: str) -> int:
    """Lists; returns how many videos there are."""
    return sum(1 for _ in list_videos(folder))


def _measured(work: Callable[[str, str], int], folder: str, database: str, connection: Connection) -> None:
    started = time.perf_counter()
    found = work(folder, database)
    seconds = time.perf_counter() - started
    connection.send((found, seconds, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024))


def measure(work: Callable[[str, str], int], folder: str, database: str) -> tuple[int, float, float]:
    """Runs `work` in a process of its own; returns what it found, the seconds that took, and its peak memory in MiB."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measured, args=(work, folder, database, sender))
    process.start()
    result = receiver.recv()
    process.join()
    return result


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--done", type=int, default=100_000, help="videos in the tables. Default: 100000")
    parser.add_argument("--new", type=int, default=100, help="further videos. Default: 100")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder, database = Path(name, "videos"), str(Path(name, "counts.duckdb"))
        folder.mkdir()
        draw_files(folder, args.done)
        fill_tables(DuckDBWarehouse(database), folder)
        (folder / "new").mkdir()
        for index in range(args.new):
            (folder / "new" / f"{index}.mp4").touch()
        listed, list_sec, list_mib = measure(list_only, str(folder), database)
        print(f"listed {listed:,} videos: {list_sec:.1f} s, peak {list_mib:,.0f} MiB", flush=True)
        selected, sec, mib = measure(list_and_select, str(folder), database)
        print(f"listed them and selected {selected:,}: {sec:.1f} s, peak {mib:,.0f} MiB", flush=True)
    if (listed, selected) != (args.done + args.new, args.new):
        raise SystemExit(f"expected {args.done + args.new} videos and {args.new} new ones. Received: {listed}, {selected}")
    print_result(
        "selection",
        listed=listed,
        selected=selected,
        list_sec=round(list_sec, 2),
        list_and_select_sec=round(sec, 2),
        ratio=round(sec / list_sec, 2),
        peak_mib=round(mib),
    )


if __name__ == "__main__":
    main()
