"""`repcount export`: writes the rows of a table or view to a file or to standard output."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model.replacing import replacing
from pipeline.command_line import UsageError
from pipeline.commands.tables import add_output, explain_old_tables
from pipeline.dates import parse_days
from pipeline.options import make_warehouse

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse

_FORMATS = ("csv", "jsonl", "parquet")


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `export` to the commands."""
    parser = subparsers.add_parser(
        "export",
        description="Writes the rows of a table or view as CSV, JSON lines or Parquet. In CSV, lists are JSON in their cell, "
        "and a text that a spreadsheet would run as a formula starts with an apostrophe; the other formats keep every text as "
        "it is. Long curves in frame_curves make cells too long for spreadsheets and for Python's csv module, which refuses "
        "more than 131,072 characters: export frame_curve_points, which has a row per frame, or write Parquet. While it reads "
        "a DuckDB file, a run that commits to it waits. Exit code: 0 if all rows were written; 1 if the file cannot be "
        "written, or a DuckDB file is locked or damaged; 2 if there is no such view or run, or tables cannot be read for "
        "another reason. No file is changed unless all rows were written.",
        examples=[
            "repcount export --output duckdb:counts.duckdb --view review_queue",
            "repcount export --output bigquery:my-project.gym --view sets --date 7d --to sets.parquet",
        ],
    )
    add_output(parser)
    parser.add_argument(
        "--view",
        default="latest_video_counts",
        metavar="NAME",
        help="table or view to read, such as sets, repetitions, review_queue or failures. Default: %(default)s",
    )
    parser.add_argument(
        "--format",
        choices=_FORMATS,
        help="format of the rows. Default: what the name of the file ends with; csv if it has no ending",
    )
    parser.add_argument(
        "--run", dest="run_id", metavar="RUN", help="only rows of this run, with all its slices. Default: of all runs"
    )
    parser.add_argument(
        "--date",
        type=parse_days,
        metavar="DAYS",
        help="only videos uploaded on a day (UTC): 2026-01-31, today, yesterday, a range such as 2026-01-01..2026-01-31, or "
        "the last days such as 7d. Default: all days",
    )
    parser.add_argument(
        "--to", type=Path, metavar="FILE", help="file to write, completely or not at all. Default: standard output"
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Writes the rows and returns the exit code; raises UsageError, WarehouseError or OSError."""
    from pipeline.output_files import check_file, check_no_tables_or_video
    from transforms.warehouse.base import WarehouseError  # imports Beam, for which --help need not wait

    _check_view(args)
    if args.format == "parquet" and args.to is None:
        raise UsageError("--format parquet needs --to FILE")
    ending = args.to.suffix.lower().removeprefix(".") if args.to is not None else ""
    if args.format is None and ending not in ("", *_FORMATS):
        endings = " or ".join(f".{name}" for name in _FORMATS)
        raise UsageError(f"--to must end with {endings}, or needs --format. Received: {str(args.to)!r}")
    file_format = args.format or ending or "csv"
    warehouse = make_warehouse(args.output, temp_location="")
    if args.to is not None:
        check_file("--to", args.to)
        check_no_tables_or_video("--to", args.to, warehouse)
    try:
        _write_rows(args, warehouse, file_format)
    except WarehouseError as error:
        raise explain_old_tables(error, warehouse) from error
    return 0


def _check_view(args: argparse.Namespace) -> None:
    """Raises UsageError if there is no such view, or it lacks a column that an option needs."""
    from transforms.warehouse.duckdb_tables import find_columns
    from transforms.warehouse.schema import TABLES
    from transforms.warehouse.views import VIEWS

    names = [item.name for item in (*VIEWS, *TABLES)]
    if args.view not in names:
        raise UsageError(f"--view must be one of {', '.join(names)}. Received: {args.view!r}")
    for option, value, column in (("--run", args.run_id, "run_id"), ("--date", args.date, "upload_date")):
        if value is not None and column not in find_columns(args.view):
            raise UsageError(f"{option} needs a table or view with the column {column}. Received: {args.view!r}")


def _write_rows(args: argparse.Namespace, warehouse: Warehouse, file_format: str) -> None:
    """Writes the rows in one of `_FORMATS`; raises UsageError, WarehouseError or OSError."""
    from pipeline.export_formats import to_csv, to_jsonl, write_parquet

    query, parameters = _make_query(args, warehouse)
    with contextlib.closing(warehouse.read(query, parameters)) as batches:
        if file_format == "parquet":
            with replacing(args.to) as partial:
                write_parquet(batches, partial)
            return
        texts: Iterator[str] = to_csv(batches) if file_format == "csv" else to_jsonl(batches)
        if args.to is None:
            for text in texts:
                sys.stdout.write(text)
            return
        with replacing(args.to) as partial, partial.open("x", encoding="utf-8", newline="") as file:
            file.writelines(texts)


def _make_query(args: argparse.Namespace, warehouse: Warehouse) -> tuple[str, dict[str, Any]]:
    """Returns the query of the rows to write, and its parameters; raises UsageError if there is no such run."""
    from pipeline.report.scope import choose_run, read_runs

    conditions: list[str] = []
    parameters: dict[str, Any] = {}
    if args.run_id is not None:
        conditions.append("run_id IN {run_ids}")
        parameters["run_ids"] = list(choose_run(read_runs(warehouse, args.run_id), args.run_id, None).rows)
    if args.date is not None:
        conditions.append("upload_date IN {dates}")
        parameters["dates"] = list(args.date)
    where = f" WHERE {' AND '.join(conditions)}" if conditions else ""
    order = " ORDER BY priority" if args.view == "review_queue" else ""
    return f"SELECT * FROM {{dataset}}{args.view}{where}{order}", parameters
