"""Progress on standard error: what a command is doing and, on a terminal, how far it is. `--quiet` silences it."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
from collections.abc import Callable, Iterator

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Column

from pipeline.results_table import printable

_INTERVAL_SEC = 0.5


@contextlib.contextmanager
def announce(message: str) -> Iterator[None]:
    """Shows a message while the body runs: a spinner on a terminal, else a line."""
    with show_status(message):
        if is_shown() and not sys.stderr.isatty():
            print(printable(message), file=sys.stderr, flush=True)
        yield


def tell(message: str) -> None:
    """Prints a line on standard error, unless `--quiet` silences it."""
    if is_shown():
        print(printable(message), file=sys.stderr, flush=True)


@contextlib.contextmanager
def show_status(message: str = "") -> Iterator[Callable[[str], None]]:
    """Shows a spinner with a message while the body runs, on a terminal only; yields a function that changes the message."""
    console = Console(stderr=True)
    if not (console.is_terminal and is_shown()):
        yield lambda message: None
        return
    spinner = Progress(SpinnerColumn(), text_column(), console=console, transient=True, redirect_stdout=False)
    with spinner:  # a rich Status would send what is printed on standard output to the terminal, even if that is a file
        task = spinner.add_task(printable(message))
        yield lambda message: spinner.update(task, description=printable(message))


def text_column() -> TextColumn:
    """Returns a column of a bar that shows the task's description as it is, cut off where the line ends."""
    return TextColumn("{task.description}", markup=False, table_column=Column(no_wrap=True, overflow="ellipsis"))


@contextlib.contextmanager
def show_progress(path: str | None) -> Iterator[None]:
    """Shows how many videos of a run have been scored, while the body runs.

    Args:
      path: File of `transforms.progress`. None if the workers are other machines; then nothing is shown.
    """
    console = Console(stderr=True)
    if path is None or not is_shown():
        yield
    elif not console.is_terminal:
        with _repeating(_announcement(path)):
            yield
    else:
        with _progress_bar(path, console):
            yield


@contextlib.contextmanager
def _progress_bar(path: str, console: Console) -> Iterator[None]:
    from transforms.progress import finished_videos, read_totals

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TextColumn("videos"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as bar:
        task = bar.add_task("Listing", total=None)

        def show() -> None:
            totals = read_totals(path)
            if totals is not None:
                bar.update(task, description="Counting", total=totals.selected, completed=finished_videos(path))

        with _repeating(show):
            yield


def _announcement(path: str) -> Callable[[], None]:
    """Returns a function that prints, once it is known, how many videos there are to count."""
    from transforms.progress import read_totals

    told = False

    def tell() -> None:
        nonlocal told
        totals = read_totals(path)
        if totals is not None and not told:
            told = True
            rest = f", {totals.skipped:,} are counted already" if totals.skipped else ""
            print(f"Counting {totals.selected:,} videos{rest} …", file=sys.stderr, flush=True)

    return tell


@contextlib.contextmanager
def _repeating(action: Callable[[], object]) -> Iterator[None]:
    """Calls `action` every half second, in a thread, while the body runs, and once after it."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(_INTERVAL_SEC):
            action()

    thread = threading.Thread(target=repeat, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
        action()


def is_shown() -> bool:
    """Returns whether progress is shown; `--quiet` raises the level of the root logger."""
    return logging.getLogger().isEnabledFor(logging.WARNING)
