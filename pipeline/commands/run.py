"""`repcount run`: counts the videos that patterns match, in a Beam pipeline, and writes the counts to tables."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TYPE_CHECKING

from model import presets
from model.presets import ModelFacts
from pipeline.command_line import CommandParser, natural_number, number, positive_whole_number
from pipeline.commands.tables import TABLES_HELP
from pipeline.dates import parse_days, parse_time
from pipeline.launch import add_launch_options, check_none_is_active, make_launch, set_up_workers
from pipeline.options import add_listing_options, add_model_options, label_regex
from pipeline.progress_display import announce, show_status
from transforms.failure_codes import FailureCode
from transforms.failure_limit import FailureLimit
from transforms.left_out import lost_objects

if TYPE_CHECKING:
    from pipeline.run_config import RunConfig
    from transforms.inference import RepNetModelHandler

EXIT_CODES = (
    "Exit code: 0 if every video was counted, failed or skipped and its row is in the tables; 1 if the run failed, if "
    "the database is locked, damaged, on a full disk or was moved away meanwhile, if a matched name cannot be looked at, or "
    f"if more than --max_failure_ratio of its videos failed (a run of up to {FailureLimit.min_videos} videos is exempt); 2 if "
    "the command line is invalid, and then nothing was written; 130 if it was interrupted."
)


def add_parser(subparsers: argparse._SubParsersAction[CommandParser]) -> CommandParser:
    """Adds `run` to the commands."""
    parser = subparsers.add_parser(
        "run",
        description="Counts the repetitions in every video that the inputs match and writes counts and curves to tables. "
        f"Options that are not listed here go to Beam (--runner, --direct_num_workers, …). {EXIT_CODES}",
        examples=[
            "repcount run --input 'videos/**' --output duckdb:counts.duckdb",
            "repcount run --input 'gs://gym/{date}/**' --dates yesterday --output bigquery:my-project.gym "
            "--temp_location gs://gym-temp/repcount",
        ],
    )
    _add_source_options(parser)
    parser.add_argument(
        "--dry_run",
        action="store_true",
        help="print how many videos, bytes, minutes and worker-hours the run would take; change no table. If few videos of "
        "similar size are counted, the headers of up to 20 new ones are read to tell",
    )
    _add_table_options(parser)
    add_model_options(parser)
    add_launch_options(parser)
    parser.set_defaults(run=run, stores_results=True, own_options=parser.visible_options())
    return parser


def _make_handler(config: RunConfig) -> RepNetModelHandler:
    from pipeline.graph import make_handler

    return make_handler(config)


def run(
    args: argparse.Namespace,
    *,
    read_facts: Callable[[str], ModelFacts] | None = None,
    make_handler: Callable[[RunConfig], RepNetModelHandler] = _make_handler,
) -> int:
    """Checks the command line, runs the pipeline and prints the results; returns the exit code.

    Args:
      args: Parsed options; `args.beam_args` holds those for Beam, and `args.own_options` the names of all others.
      read_facts: Returns what the model of a name or path is. Default: `presets.read_facts`, but `presets.load_model` for a run
        that scores in this process: importing TensorFlow silences standard error, which must not hit the lines of the run.
      make_handler: Returns what loads the model on workers and scores with it.

    Raises:
      UserError: The command line is invalid, or something that it names is missing. Nothing was written.
    """
    with show_status("Checking options …"):  # Beam takes seconds to import
        from pipeline.estimate import estimate
        from pipeline.execute import execute, make_provenance, submit
        from pipeline.run_config import is_local_run, make_config, make_pipeline_options
        from pipeline.summary import exit_code, print_report

        options = make_pipeline_options(args.beam_args, args.own_options)
        launch = make_launch(args, options)

    if read_facts is None:
        scores_here = is_local_run(options) and not args.dry_run
        read_facts = presets.load_model if scores_here else presets.read_facts
    read: Callable[[str], ModelFacts] = read_facts

    def announce_and_read(name: str) -> ModelFacts:
        with announce(f"Loading model {name} …"):
            return read(name)

    config = make_config(args, options, launch, announce_and_read)
    if args.dry_run:
        estimated = estimate(config, make_provenance(config))
        print(*estimated.lines(), sep="\n")
        return 1 if lost_objects(estimated.left_out) else 0
    set_up_workers(options, launch)
    if launch.unless_active:
        check_none_is_active(options, launch.unless_active)
    if not launch.wait:
        return submit(config, options, make_handler(config))
    outcome = execute(config, options, make_handler(config), launch.max_hours)
    print_report(outcome, config.warehouse, args.show)
    return exit_code(outcome, config.failure_limit)


def _add_source_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that decide which videos are counted."""
    source = parser.add_argument_group("videos")
    source.add_argument(
        "--input",
        action="append",
        required=True,
        metavar="PATTERN",
        help="a file, a directory or a pattern such as 'dir/**' or 'gs://bucket/2026/**.mp4', which tells capitals apart; may "
        "be repeated",
    )
    add_listing_options(source)
    source.add_argument(
        "--mode",
        choices=("new", "all"),
        default="new",
        help="new: skip videos that the tables have, counted or failed, for this model and these options. all: count every "
        "video. Default: %(default)s",
    )
    source.add_argument(
        "--requeue",
        type=_failure_codes,
        default=(),
        metavar="CODE[,CODE…]",
        help="retry videos that failed with these codes, such as GONE,READ_ERROR; for --mode=new. Default: none",
    )
    source.add_argument(
        "--label_regex",
        type=label_regex,
        metavar="REGEX",
        help="label each video by its name: every named group of this RE2 expression is a label in the column labels, such as "
        "'(?P<user>[^/]+)/(?P<exercise>[^/]+)/'. It is searched for in the name within the bucket, or in the path below the "
        "folder that --input names. Rows written earlier stay as they are. Default: no labels",
    )
    source.add_argument(
        "--dates",
        type=parse_days,
        metavar="DAY[..DAY]|Nd",
        help="days that replace {date} in each input, such as 2026-01-01..2026-01-31, yesterday..today, or 7d for today and "
        "the six days before; {date:%%Y/%%m/%%d} sets another format. Days without videos are no error. Default: none",
    )
    source.add_argument(
        "--updated_after",
        type=parse_time,
        metavar="TIME",
        help="skip videos uploaded before this day or time; UTC unless it has a zone. Default: none",
    )
    source.add_argument(
        "--updated_before",
        type=parse_time,
        metavar="TIME",
        help="skip videos uploaded at or after this day or time; UTC unless it has a zone. Default: none",
    )
    source.add_argument(
        "--sample",
        type=number,
        default=1.0,
        metavar="SHARE",
        help="share of the videos to count, 0..1; the same videos every time. Default: %(default)g, all of them",
    )
    source.add_argument(
        "--limit",
        type=positive_whole_number,
        metavar="VIDEOS",
        help="most videos to count, oldest uploads first; with --mode=all or --requeue, each run takes the same "
        "ones. Default: no limit",
    )


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the tables and for what is printed at the end."""
    tables = parser.add_argument_group("tables")
    tables.add_argument(
        "--output",
        required=True,
        metavar="TABLES",
        help=f"{TABLES_HELP}. A missing file is created; BigQuery also needs --temp_location gs://BUCKET/FOLDER",
    )
    tables.add_argument(
        "--max_failure_ratio",
        type=number,
        default=FailureLimit.max_ratio,
        metavar="0..1",
        help="share of videos that may fail; above it the run ends with exit code 1 after everything is committed. A run of up "
        f"to {FailureLimit.min_videos} videos is exempt. Default: %(default)g",
    )
    tables.add_argument(
        "--slices",
        type=natural_number,
        metavar="N",
        help="divide the videos among N jobs, one after another, each of which commits its own rows: a run that is cut off "
        "keeps the slices that are done. Default: as many as keep a slice to about an hour; 1 with --no_wait",
    )
    tables.add_argument(
        "--show", type=natural_number, default=50, metavar="N", help="maximum number of videos to print. Default: %(default)s"
    )


def _failure_codes(text: str) -> tuple[str, ...]:
    codes = tuple(dict.fromkeys(text.split(",")))
    known = [code.value for code in FailureCode]
    unknown = [code for code in codes if code not in known]
    if unknown:
        raise argparse.ArgumentTypeError(f"must be one of {', '.join(known)}. Received: {unknown[0]!r}")
    return codes
