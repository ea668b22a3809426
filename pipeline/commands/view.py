"""`repcount view`: shows counted videos with their curves in a browser and takes corrections."""

from __future__ import annotations

import argparse
import os
import secrets
import sys
import webbrowser
from collections.abc import Collection, Iterable
from pathlib import Path

from pipeline.command_line import UsageError, natural_number
from pipeline.commands.tables import add_output
from pipeline.labels import LabelFile
from pipeline.options import add_billing_project, make_warehouse
from pipeline.output_files import check_file
from pipeline.progress_display import show_status
from transforms.text import printable

_TOKEN_BYTES = 24


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `view` to the commands."""
    parser = subparsers.add_parser(
        "view",
        description="Serves a page on this machine that plays counted videos with their curves. Prints its address and opens "
        "it in a browser. A click on a repetition jumps to it. A corrected count is written to a CSV file that `repcount "
        "evaluate` reads. Whoever has the address sees the videos; it is valid until Ctrl-C ends the command. Exit code: 130 "
        "after Ctrl-C, 1 if a DuckDB file is locked or damaged, 2 if the command line is invalid or the tables cannot be read "
        "for another reason.",
        examples=[
            "repcount view --output counts.duckdb",
            "repcount view --output counts.duckdb --port 8000   # on another machine; here: ssh -L 8000:127.0.0.1:8000 MACHINE",
            "repcount view --output bigquery:my-project.gym --videos gs://gym --labels gym.csv",
        ],
    )
    add_output(parser)
    parser.add_argument(
        "--labels",
        default="labels.csv",
        metavar="PATH",
        help="CSV file that corrected counts are written to, and known ones read from. Default: %(default)s",
    )
    parser.add_argument(
        "--videos",
        metavar="DIR",
        help="folder, or gs:// prefix, below which labels name videos; what `repcount evaluate --videos` needs. Default: the "
        "deepest folder that has all videos of the tables",
    )
    parser.add_argument(
        "--port",
        type=natural_number,
        default=0,
        metavar="N",
        help="port on 127.0.0.1; 0 for any free one. Default: %(default)s",
    )
    parser.add_argument("--no_browser", action="store_true", help="do not open a browser; print the address only")
    add_billing_project(parser)
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Serves the page until Ctrl-C.

    Raises:
      UserError: The command line is invalid, or the tables or labels cannot be read.
      KeyboardInterrupt: The user has ended it.
    """
    from pipeline.view import server, videos
    from pipeline.web import open_socket  # they import Beam's and the server's libraries, for which --help need not wait

    listener = open_socket(server.HOST, args.port)
    warehouse = make_warehouse(args.output, temp_location="")
    if not warehouse.is_ready():
        raise UsageError(f"--output must name tables that a run has filled. Received: {args.output!r}")
    with show_status("Reading the list of videos …"):
        listed = videos.VideoList(warehouse)
    labels = LabelFile(args.labels)
    check_labels(labels)
    folder = find_folder(args.videos, listed.by_uri)
    viewer = server.Viewer(warehouse.name, listed, labels, folder, args.billing_project)
    warn_of_others(labels, (viewer.label_path(uri) for uri in listed.by_uri), folder)
    token = secrets.token_urlsafe(_TOKEN_BYTES)
    address = f"http://{server.HOST}:{listener.getsockname()[1]}/{token}/"
    print(address, flush=True)
    if not getattr(args, "quiet", False):
        print(describe(len(listed), labels.path, folder), file=sys.stderr, flush=True)
    if not args.no_browser and has_desktop():
        webbrowser.open(address)
    server.serve(server.make_app(viewer, token), listener, is_verbose=getattr(args, "verbose", False))
    return 0


def has_desktop() -> bool:
    """Returns whether a browser can open a window. Else Python would start a browser in the terminal, and wait for it."""
    return sys.platform in ("darwin", "win32") or any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def find_folder(given: str | None, uris: Collection[str]) -> str | None:
    """Returns the folder that paths of labels start below; None if the videos share none.

    Args:
      given: Value of `--videos`; None if there is none.
      uris: URIs of all videos, at least one.

    Raises:
      UsageError: No video is below the given folder.
    """
    from pipeline.view.videos import path_below, shared_folder
    from transforms.objects import absolute

    if given is None:
        return shared_folder(uris)
    folder = absolute(given).rstrip("/") or "/"
    if all(path_below(uri, folder) is None for uri in uris):
        raise UsageError(f"--videos must be a folder that has videos of the tables, such as {min(uris)}. Received: {given!r}")
    return folder


def check_labels(labels: LabelFile) -> None:
    """Raises UsageError unless the labels can be read and written."""
    labels.counts()
    check_file("--labels", Path(labels.path))


def warn_of_others(labels: LabelFile, paths: Iterable[str | None], folder: str | None) -> None:
    """Prints how many labels name no video of the tables; raises UsageError if none does, since paths would be mixed."""
    known = set(labels.counts())
    others = known.difference(path for path in paths if path is not None)
    if known and others == known:
        raise UsageError(
            f"--videos must be the folder below which {labels.path} names videos, or --labels another file: none of its "
            f"{len(known):,} videos is in the tables. Received: {folder or 'none'}"
        )
    if others:
        message = f"of {len(known):,} labelled videos, {len(others):,} are not in the tables"
        print(f"repcount view: {message}", file=sys.stderr)


def describe(num_videos: int, labels: str, folder: str | None) -> str:
    """Returns a line for people: how many videos there are, and where corrections go."""
    where = f"paths start below {folder}" if folder else "name the folder of the videos with --videos to correct counts"
    videos = "1 video" if num_videos == 1 else f"{num_videos:,} videos"
    return f"repcount view: {videos}. Corrections go to {printable(labels)}; {printable(where)}. Ctrl-C ends it."
