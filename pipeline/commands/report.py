"""`repcount report`: writes a page about a run or about days of uploads."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
from pathlib import Path

from pipeline.commands.tables import add_output, explain_old_tables
from pipeline.dates import parse_days
from pipeline.options import make_warehouse
from transforms.text import printable


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `report` to the commands."""
    parser = subparsers.add_parser(
        "report",
        description="Writes a page about a run: totals beside those of the run before, failures with what to do, how sure the "
        "counts are, and the counts to review first with their curves and a few frames. The page is one HTML file that needs "
        "no network. The frames are in that file and nowhere else; --no_thumbnails leaves them out. "
        "Exit code: 0 if the page was written; 1 if it cannot be, or a DuckDB file is locked or damaged; 2 if there is no such "
        "run, date or model.",
        examples=[
            "repcount report --output duckdb:counts.duckdb",
            "repcount report --output bigquery:my-project.gym --date yesterday --compare repnet-2025 --to yesterday.html",
        ],
    )
    add_output(parser)
    about = parser.add_mutually_exclusive_group()
    about.add_argument(
        "--run",
        dest="run_id",
        metavar="RUN",
        help="id of the run. Default: the latest complete one that is no commit of `repcount serve`",
    )
    about.add_argument(
        "--date",
        type=parse_days,
        metavar="DAYS",
        help="show the videos uploaded on a day (UTC) instead of a run: 2026-01-31, today, yesterday, a range such as "
        "2026-01-01..2026-01-31, or the last days such as 7d",
    )
    parser.add_argument(
        "--compare", metavar="MODEL", help="show beside it how this model counted the same videos. Default: no other model"
    )
    parser.add_argument(
        "--to", type=Path, default=Path("report.html"), metavar="FILE", help="file to write. Default: %(default)s"
    )
    parser.add_argument(
        "--no_thumbnails",
        action="store_true",
        help="put no frames of videos on the page. Default: a few frames of each video to review that is still there",
    )
    parser.set_defaults(run=run, stores_results=True)
    return parser


def run(args: argparse.Namespace) -> int:
    """Writes the page and returns the exit code; raises UsageError or WarehouseError."""
    from pipeline.output_files import check_file, check_no_tables_or_video, write_text
    from pipeline.report.data import read_report  # imports Beam and Jinja, for which --help need not wait
    from pipeline.report.page import render
    from pipeline.report.thumbnails import make_thumbnails
    from transforms.warehouse.base import WarehouseError

    warehouse = make_warehouse(args.output, temp_location="")
    check_file("--to", args.to)
    check_no_tables_or_video("--to", args.to, warehouse)
    try:
        report = read_report(warehouse, run=args.run_id, dates=args.date, compare=args.compare)
    except WarehouseError as error:
        raise explain_old_tables(error, warehouse) from error
    if not args.no_thumbnails:
        report = dataclasses.replace(report, thumbnails=make_thumbnails(report.review))
    text = render(report, datetime.datetime.now(datetime.UTC))
    write_text(args.to, text)
    totals = report.totals
    is_empty_run = report.scope.is_run and not totals.counted + totals.failed
    hint = (
        f". Nothing was new: see --run {report.before.name}, the last before it with results of this model"
        if is_empty_run and report.before
        else ""
    )
    print(
        f"{printable(str(args.to))}: {report.scope.name}, {totals.counted:,} counted, {totals.failed:,} failed, "
        f"{len(text.encode()) / 1000:,.0f} kB{hint}"
    )
    return 0
