"""`repcount serve`: counts single videos by HTTP request, with the same model and the same answer as `repcount count`."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from pipeline.command_line import natural_number, number
from pipeline.commands.tables import TABLES_HELP
from pipeline.counter import Counter, load_counter
from pipeline.options import add_billing_project, add_model_options, label_regex, make_warehouse

if TYPE_CHECKING:
    from pipeline.serve.store import AnswerStore


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `serve` to the commands."""
    parser = subparsers.add_parser(
        "serve",
        description="Counts single videos by HTTP request, one after another, until SIGTERM or Ctrl-C. It then answers what it "
        "has taken, and ends. Exit code: 0 after SIGTERM, 130 after Ctrl-C, 1 if a DuckDB file is locked or "
        "damaged, 2 if the command line is invalid.",
        examples=[
            "repcount serve --base videos        # here: curl 'http://127.0.0.1:8080/count?name=squats.mp4'",
            "repcount serve --host 0.0.0.0 --token_file token.txt --base gs://gym --allow gs://gym-archive/2025",
        ],
    )
    _add_server_options(parser)
    _add_video_options(parser)
    _add_table_options(parser)
    add_model_options(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace, *, load_counter: Callable[[argparse.Namespace], Counter] = load_counter) -> int:
    """Serves until a signal ends it; returns the exit code.

    Raises:
      UserError: The command line is invalid, or the model cannot be loaded.
      KeyboardInterrupt: The user has ended it.
    """
    # These import the server's libraries, for which --help need not wait.
    from pipeline.serve.app import make_app
    from pipeline.serve.config import make_config
    from pipeline.serve.request_log import set_up_json_logging
    from pipeline.serve.server import Server, serve
    from pipeline.serve.service import CountingService
    from pipeline.serve.vertex import choose_model
    from pipeline.web import open_socket

    set_up_json_logging(quiet=getattr(args, "quiet", False))
    config = make_config(args)

    def load() -> Counter:
        config.places.prepare()
        args.model = choose_model(args.model, os.environ)
        return load_counter(args)

    service = CountingService(
        load,
        open_keeper=_make_opener(args, config.places.places),
        max_queue=config.max_queue,
        deadline_sec=config.deadline_sec,
    )
    listener = open_socket(config.host, config.port)
    host = f"[{config.host}]" if ":" in config.host else config.host
    if not getattr(args, "quiet", False):
        address = f"http://{host}:{listener.getsockname()[1]}"
        print(f"repcount serve: listens on {address}. Ctrl-C ends it.", file=sys.stderr, flush=True)
    serve(Server(make_app(service, config), service, config.grace_sec), service, listener)
    return 0


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that decide where the server listens, who may ask, and how much it takes at a time."""
    server = parser.add_argument_group("server")
    server.add_argument(
        "--host",
        default="127.0.0.1",
        metavar="ADDRESS",
        help="address to listen on; another one than this machine's own needs a token or --allow_unauthenticated. "
        "Default: %(default)s",
    )
    server.add_argument(
        "--port",
        type=natural_number,
        metavar="N",
        help="port; 0 for any free one. Default: the environment variable AIP_HTTP_PORT or PORT, else 8080",
    )
    server.add_argument(
        "--token_file",
        metavar="PATH",
        help="text file with the token that requests must have in the header 'Authorization: Bearer TOKEN'. Default: the "
        "environment variable REPCOUNT_TOKEN, else no token",
    )
    server.add_argument(
        "--allow_unauthenticated",
        action="store_true",
        help="listen to other machines without a token, since the platform in front authenticates. Default: off",
    )
    server.add_argument(
        "--max_queue",
        type=natural_number,
        default=16,
        metavar="VIDEOS",
        help="most videos that wait while one is counted; beyond it requests get 429. Default: %(default)s",
    )
    server.add_argument(
        "--deadline_sec",
        type=number,
        default=300.0,
        metavar="SEC",
        help="most seconds to find and count a video, waiting included; after that the request gets 504. Default: %(default)g",
    )
    server.add_argument(
        "--grace_sec",
        type=number,
        default=25.0,
        metavar="SEC",
        help="most seconds to answer what runs and waits when the server is told to end. Default: %(default)g",
    )
    server.add_argument(
        "--max_upload_bytes",
        type=natural_number,
        default=512 << 20,
        metavar="BYTES",
        help="largest video that a request may upload; all uploads at a time take at most four times as much disk. "
        "Default: %(default)s",
    )


def _add_video_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the videos that requests may name."""
    videos = parser.add_argument_group("videos")
    videos.add_argument(
        "--base", metavar="DIR", help="folder or gs:// prefix that names in requests start from, and may be read. Default: none"
    )
    videos.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="DIR",
        help="another folder or gs:// prefix that may be read; may be repeated. Default: only --base",
    )
    add_billing_project(videos)


def _add_table_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the tables that answers are looked up in and stored in."""
    tables = parser.add_argument_group("tables")
    tables.add_argument(
        "--output",
        metavar="TABLES",
        help=f"{TABLES_HELP}; the tables to look answers up in and to store new ones in, as runs do; "
        "BigQuery needs --temp_location. Default: none, so every request is counted",
    )
    tables.add_argument("--temp_location", metavar="gs://…", help="Cloud Storage folder that BigQuery loads rows from")
    tables.add_argument(
        "--label_regex",
        type=label_regex,
        metavar="REGEX",
        help="label each video by its name, as repcount run does, in the path below --base or --allow. Default: no labels",
    )


def _make_opener(args: argparse.Namespace, places: Sequence[str]) -> Callable[[Counter], AnswerStore] | None:
    """Returns a function that opens the tables of `--output`, once it is sure that they can be written; None without any."""
    if args.output is None:
        return None
    from pipeline.serve.store import AnswerStore
    from transforms.warehouse.name_labels import NameLabels, local_folders

    warehouse = make_warehouse(args.output, args.temp_location)
    warehouse.check()
    name_labels = NameLabels(args.label_regex or "", local_folders(places))

    def open_store(counter: Counter) -> AnswerStore:
        store = AnswerStore(warehouse, counter, name_labels)
        store.start()
        return store

    return open_store
