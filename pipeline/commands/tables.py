"""`repcount tables`: creates or updates the tables and views."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from pipeline.command_line import natural_number
from pipeline.options import make_warehouse
from transforms.text import printable

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse, WarehouseError

TABLES_HELP = "a DuckDB file, duckdb:PATH or PATH.duckdb; or bigquery:PROJECT.DATASET"
"""How tables are named on the command line."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `tables` to the commands."""
    parser = subparsers.add_parser(
        "tables",
        description="Creates the tables and views that a run fills, and adds missing columns and views to existing ones. Never "
        "drops a table and never changes a column's type. `repcount run` does the same when it starts. Exit code: 0 if the "
        "tables are, or with --dry_run would be, up to date; 1 if a DuckDB file is locked or damaged or its disk is full; 2 if "
        "they cannot be for another reason.",
        examples=[
            "repcount tables --output duckdb:counts.duckdb",
            "repcount tables --output bigquery:my-project.gym --location EU --partition_expiration_days 400 --dry_run",
        ],
    )
    add_output(parser)
    parser.add_argument(
        "--location",
        metavar="PLACE",
        help="create the BigQuery data set in this location if it is missing, for example EU or europe-west4. Default: fail if "
        "the data set is missing",
    )
    parser.add_argument(
        "--partition_expiration_days",
        type=natural_number,
        metavar="DAYS",
        help="delete a video's rows from BigQuery this many days after its upload; 0 keeps them forever. Default: unchanged",
    )
    parser.add_argument(
        "--require_partition_filter",
        action=argparse.BooleanOptionalAction,
        help="reject queries of frame_curves, by far the largest table, that do not filter by upload_date; BigQuery only. "
        "Default: unchanged",
    )
    parser.add_argument("--dry_run", action="store_true", help="print what would change; change nothing")
    parser.set_defaults(run=run, stores_results=True)
    return parser


def add_output(parser: argparse.ArgumentParser) -> None:
    """Adds `--output`, which names the tables."""
    parser.add_argument("--output", required=True, metavar="TABLES", help=TABLES_HELP)


def explain_old_tables(error: WarehouseError, warehouse: Warehouse) -> WarehouseError:
    """Returns the error with what to do if tables, columns or views are missing."""
    from transforms.warehouse.base import WarehouseError

    try:
        is_old = bool(warehouse.changes())
    except WarehouseError:  # the first error says more
        is_old = False
    advice = "`repcount run` makes the tables, and `repcount tables` brings older ones up to date"
    return type(error)(f"{advice}: {error}") if is_old else error


def run(args: argparse.Namespace) -> int:
    """Creates or updates the tables and returns the exit code; raises UsageError or WarehouseError."""
    from transforms.warehouse.base import TableOptions  # imports Beam, for which --help need not wait

    options = TableOptions(args.location, args.partition_expiration_days, args.require_partition_filter)
    warehouse = make_warehouse(args.output, temp_location="")
    changes = warehouse.changes(options)
    if not args.dry_run:
        warehouse.prepare(options)
    for change in changes:
        print(f"would {change}" if args.dry_run else f"done: {change}")
    if not changes:
        print(f"{printable(warehouse.name)} is up to date")
    return 0
