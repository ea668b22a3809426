"""Progress on standard error: what a command is doing and, on a terminal, how far it is. `--quiet` silences it."""

from __future__ import annotations

import contextlib
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

from rich.console import Console, RenderableType
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn
from rich.table import Column
from rich.text import Text

from pipeline.progress_figures import Figures, Pace, WholeRun, flow, progress_line
from transforms.text import printable, without_secrets

if TYPE_CHECKING:
    from transforms.records import SelectionTotals

INTERVAL_SEC = 0.5
"""Seconds between two looks at the files of a run. The bars are drawn as often: rich's ten times a second cost more."""

LINE_SEC = 60.0
"""Seconds between two lines about a run where standard error is no terminal."""


@contextlib.contextmanager
def announce(message: str) -> Iterator[None]:
    """Shows a message while the body runs: a spinner on a terminal, else a line."""
    message = without_secrets(message)
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
def show_progress(path: str | None, whole: WholeRun | None = None) -> Iterator[None]:
    """Shows how far a run on this machine is while the body runs: bars on a terminal, else a line every minute.

    Args:
      path: File of `transforms.progress`. None if the workers are other machines; then nothing is shown.
      whole: The run that a slice is part of. None for a run without slices.
    """
    console = Console(stderr=True)
    if path is None or not is_shown():
        yield
    elif not console.is_terminal:
        with repeating(_Lines(path, whole).show, INTERVAL_SEC):
            yield
    else:
        with Bars(path, whole, console) as bars, logs_above_display(), repeating(bars.show, INTERVAL_SEC):
            yield


class _Progress:
    """Figures and pace of a run on this machine, from its files."""

    def __init__(self, path: str) -> None:
        from transforms.progress import MarkReader

        self._path = path
        self._marks = MarkReader(path)
        self._totals: SelectionTotals | None = None
        self.pace = Pace()

    def read(self) -> Figures | None:
        """Returns the figures up to now; None before the videos are selected."""
        from transforms.progress import read_totals

        self._totals = self._totals or read_totals(self._path)
        if self._totals is None:
            return None
        marked = self._marks.read()
        done = min(marked.done, self._totals.selected)
        listed = self._totals.listed - self._totals.left
        figures = Figures(listed, self._totals.skipped, done, min(marked.failed, done), marked.frames)
        self.pace.update(figures, time.monotonic())
        return figures


class _Lines:
    """Prints how much there is to do, once it is known, and every minute how far the run is."""

    def __init__(self, path: str, whole: WholeRun | None) -> None:
        self._progress = _Progress(path)
        self._whole = whole
        self._next_sec: float | None = None

    def show(self) -> None:
        figures, now_sec = self._progress.read(), time.monotonic()
        if figures is None:
            return
        if self._next_sec is None:
            rest = f", {figures.skipped:,} are counted already" if figures.skipped else ""
            tell(f"Counting {figures.selected:,} videos{rest} …")
        elif now_sec >= self._next_sec:
            tell(progress_line(figures, self._progress.pace, self._whole))
        else:
            return
        self._next_sec = now_sec + LINE_SEC


class Bars(Progress):
    """A bar for the run or its slice, one for the whole run if there are slices, and the other figures below them."""

    def __init__(self, path: str, whole: WholeRun | None, console: Console) -> None:
        whole_words = Column(no_wrap=True)
        columns = (
            TextColumn("{task.description}", table_column=whole_words),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[videos]}", table_column=whole_words),
            TextColumn("{task.fields[left]}", table_column=whole_words),
        )
        self._below: list[str] = []  # and the console: rich asks for what to show before its constructor ends
        self._screen = console
        is_one = sys.stdout.isatty()  # else what is printed on standard output must stay there, not go to the terminal
        super().__init__(*columns, console=console, transient=True, auto_refresh=False, redirect_stdout=is_one)
        self._progress = _Progress(path)
        self._whole = whole
        self._name = f"Slice {whole.part.number} of {whole.part.total}" if whole else "Counting"
        self._part = self.add_task("Listing", total=None, videos="", left="")
        if whole:
            self._all = self.add_task("All slices", total=whole.num_videos, completed=whole.done, videos="", left="")

    def get_renderables(self) -> Iterator[RenderableType]:
        """Yields the bars, then the figures in lines that fit."""
        yield self.make_tasks_table(self.tasks)
        for line in flow(self._below, self._screen.width):
            yield Text(line, no_wrap=True, overflow="ellipsis")

    def show(self) -> None:
        """Shows the figures of this moment."""
        figures = self._progress.read()
        if figures is not None:
            pace = self._progress.pace
            remaining = figures.selected - figures.done
            self._set(self._part, figures.done, figures.selected, pace.left(remaining) if remaining else "writing rows")
            self.update(self._part, description=self._name)
            if self._whole:
                done = self._whole.done + figures.done
                self._set(self._all, done, self._whole.num_videos, pace.left(self._whole.num_videos - done))
            listed = f"{'this slice: ' if self._whole else ''}listed {figures.listed:,}"
            self._below = [listed, f"skipped {figures.skipped:,}", f"failed {figures.failed:,}", *pace.spelled()]
        self.refresh()

    def _set(self, task: TaskID, done: int, total: int, left: str) -> None:
        self.update(task, completed=done, total=total, videos=f"{done:,} of {total:,} videos", left=left)


@contextlib.contextmanager
def logs_above_display() -> Iterator[None]:
    """Prints log messages above what is shown on a terminal, instead of into it, while the body runs.

    Rich replaces standard error to do so, but handlers of the root logger still have the stream from before.
    """
    console_stream = getattr(sys.stderr, "rich_proxied_file", sys.stderr)
    handlers = [
        handler
        for handler in logging.getLogger().handlers
        if isinstance(handler, logging.StreamHandler) and handler.stream is console_stream
    ]
    for handler in handlers:
        handler.setStream(sys.stderr)
    try:
        yield
    finally:
        for handler in handlers:
            handler.setStream(console_stream)


@contextlib.contextmanager
def repeating(action: Callable[[], object], interval_sec: float) -> Iterator[None]:
    """Calls `action` at intervals, in a thread, while the body runs, and once after it."""
    over = threading.Event()

    def repeat() -> None:
        while not over.wait(interval_sec):
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
