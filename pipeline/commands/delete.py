"""`repcount delete`: deletes the rows of videos from every table."""

from __future__ import annotations

import argparse
import logging
from collections.abc import Collection
from typing import TYPE_CHECKING

from pipeline.command_line import UsageError
from pipeline.commands.tables import add_output
from pipeline.dates import parse_day
from pipeline.options import make_warehouse
from transforms.objects import absolute
from transforms.text import valid_text, without_secrets

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `delete`, also known by its former name `forget`, to the commands."""
    parser = subparsers.add_parser(
        "delete",
        aliases=["forget"],
        description="Deletes all rows of videos: counts, curves and failures, of every version, model and set of options. "
        "Delete the video files first, or the next run counts them again, and wait until no run is in progress: one that has "
        "counted them already still commits their rows. BigQuery keeps deleted rows for its time travel, seven days "
        "unless the data set says otherwise. Exit code: 0, even if there was nothing to delete, though a --uri without "
        "rows is a warning; 1 if a DuckDB file is locked or damaged or its disk is full; 2 if the rows could not be deleted "
        "for another reason.",
        examples=[
            "repcount delete --output duckdb:counts.duckdb --uri /videos/ann/squats.mp4 --dry_run",
            "repcount delete --output bigquery:my-project.gym --before 2025-01-01",
        ],
    )
    add_output(parser)
    videos = parser.add_argument_group("videos")
    videos.add_argument(
        "--uri", action="append", default=[], metavar="URI", help="path or gs:// URI of a video; may be repeated"
    )
    videos.add_argument("--before", type=parse_day, metavar="DAY", help="all videos uploaded before this day (UTC)")
    parser.add_argument("--dry_run", action="store_true", help="print how many rows would be deleted; delete nothing")
    parser.set_defaults(run=run, stores_results=True)
    return parser


def run(args: argparse.Namespace) -> int:
    """Deletes rows and returns the exit code; raises UsageError or WarehouseError."""
    if not args.uri and args.before is None:
        raise UsageError("specify --uri or --before. Received: neither")
    warehouse = make_warehouse(args.output, temp_location="")
    uris = [valid_text(absolute(uri)) for uri in args.uri]  # as in the tables
    unknown = _without_rows(warehouse, uris) if uris else []
    numbers = warehouse.delete_videos(uris, args.before, args.dry_run)
    for table, number in numbers.items():
        print(f"{'would delete' if args.dry_run else 'deleted'} {number:,} rows of {table}")
    for uri in unknown:
        logging.getLogger(__name__).warning("The tables have no rows of %r", without_secrets(uri))
    return 0


def _without_rows(warehouse: Warehouse, uris: Collection[str]) -> list[str]:
    """Returns the URIs that no table has; they may be misspelled, or deleted already."""
    from transforms.warehouse.sql import PER_VIDEO_TABLES  # imports Beam, for which --help need not wait

    # A table with require_partition_filter refuses queries without a condition on upload_date.
    wanted = "upload_date >= DATE '0001-01-01' AND video_uri IN {uris}"
    of_tables = (f"SELECT video_uri FROM {{dataset}}{table.name} WHERE {wanted}" for table in PER_VIDEO_TABLES)
    query = f"SELECT DISTINCT video_uri FROM ({' UNION ALL '.join(of_tables)}) AS found"
    known = {row["video_uri"] for row in warehouse.read_rows(query, {"uris": list(uris)})}
    return [uri for uri in dict.fromkeys(uris) if uri not in known]
