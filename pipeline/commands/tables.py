"""`repcount tables` and `repcount forget`: the tables themselves, made, brought up to date, and rid of videos."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable

from pipeline.dates import parse_day
from pipeline.options import UsageError, make_warehouse, natural_number
from pipeline.results_table import printable
from transforms.warehouse.base import TableOptions, WarehouseError


def add_tables_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `tables` to the commands."""
    parser = subparsers.add_parser(
        "tables",
        help="make the tables and views, or bring them up to date",
        description="Creates the tables and views that a run fills, or adds the columns and views that they lack; drops and "
        "retypes nothing. `repcount run` does the same when it starts. Exit code: 0 if the tables are as they should be, or "
        "would be; 2 if they cannot be.",
    )
    _add_output(parser)
    parser.add_argument(
        "--location", metavar="PLACE", help="make the data set there, for instance EU or europe-west4, if it is missing"
    )
    parser.add_argument(
        "--partition_expiration_days",
        type=natural_number,
        metavar="N",
        help="let BigQuery drop the rows of a video N days after its upload; 0 keeps them. Default: leave that as it is",
    )
    parser.add_argument(
        "--require_partition_filter",
        action=argparse.BooleanOptionalAction,
        help="let BigQuery refuse queries of frame_curves, by far the largest table, that name no upload_date. Default: leave "
        "that as it is",
    )
    parser.add_argument("--dry_run", action="store_true", help="say what would change, and change nothing")
    return parser


def add_forget_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `forget` to the commands."""
    parser = subparsers.add_parser(
        "forget",
        help="delete the rows of videos from every table",
        description="Deletes all rows of videos: counts, curves and failures of every version, model and options. Delete the "
        "videos first, or the next run counts them again. BigQuery keeps deleted rows for its time travel, seven days unless "
        "the data set says otherwise. Exit code: 0, also if there was nothing to delete; 2 if that could not be done.",
    )
    _add_output(parser)
    which = parser.add_argument_group("videos")
    which.add_argument("--uri", action="append", default=[], metavar="URI", help="address of a video; may be repeated")
    which.add_argument("--before", type=parse_day, metavar="DAY", help="all videos uploaded before this day (UTC)")
    parser.add_argument("--dry_run", action="store_true", help="say how many rows would go, and delete nothing")
    return parser


def run_tables(args: argparse.Namespace) -> int:
    """Makes the tables; returns the exit code."""
    options = TableOptions(args.location, args.partition_expiration_days, args.require_partition_filter)

    def work() -> None:
        warehouse = make_warehouse(args.output, temp_location="")
        changes = warehouse.changes(options)
        if not args.dry_run:
            warehouse.prepare(options)
        for change in changes:
            print(f"would {change}" if args.dry_run else f"done: {change}")
        if not changes:
            print(f"{printable(warehouse.address)} is up to date")

    return _run("tables", work)


def run_forget(args: argparse.Namespace) -> int:
    """Deletes rows; returns the exit code."""

    def work() -> None:
        if not args.uri and args.before is None:
            raise UsageError("what to forget is said by --uri or --before. Received: neither")
        warehouse = make_warehouse(args.output, temp_location="")
        numbers = warehouse.forget(args.uri, args.before, args.dry_run)
        for table, number in numbers.items():
            print(f"{'would delete' if args.dry_run else 'deleted'} {number:,} rows of {table}")

    return _run("forget", work)


def _add_output(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--output", required=True, metavar="TABLES", help="duckdb:PATH or bigquery:PROJECT.DATASET")


def _run(command: str, work: Callable[[], None]) -> int:
    try:
        work()
    except (UsageError, WarehouseError) as error:
        print(f"repcount {command}: {printable(str(error))}", file=sys.stderr)
        return 2
    return 0
