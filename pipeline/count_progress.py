"""How far `repcount count` is, on standard error: a bar for several videos, a spinner for one. On a terminal only."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from pipeline.progress_display import is_shown, text_column
from transforms.text import printable


class VideoProgress:
    """The bar of one command; without a terminal, nothing."""

    def __init__(self, bar: Progress | None, num_videos: int) -> None:
        self._bar = bar
        self._task = bar.add_task("Counting", total=num_videos) if bar else None

    def begin(self, uri: str) -> None:
        """Shows which video is counted now."""
        if self._bar and self._task is not None:
            self._bar.update(self._task, description=f"Counting {printable(uri)}")

    @contextlib.contextmanager
    def printing(self) -> Iterator[None]:
        """Hides the bar while the body prints a result on the same terminal; then the video counts as done."""
        if not self._bar or self._task is None:
            yield
            return
        hides = sys.stdout.isatty()
        if hides:
            self._bar.stop()
        yield
        self._bar.advance(self._task)
        if hides:
            self._bar.start()


@contextlib.contextmanager
def show_videos(num_videos: int) -> Iterator[VideoProgress]:
    """Shows how many of the videos are done while the body runs, which yields what to tell about them.

    What the body prints on standard output stays there, also if that is a file.
    """
    console = Console(stderr=True)
    if not (console.is_terminal and is_shown()):
        yield VideoProgress(None, num_videos)
        return
    of_several = (BarColumn(), MofNCompleteColumn(), TextColumn("videos"), TimeElapsedColumn(), TimeRemainingColumn())
    columns = (SpinnerColumn(), *(of_several if num_videos > 1 else ()), text_column())
    with Progress(*columns, console=console, transient=True, redirect_stdout=False) as bar:
        yield VideoProgress(bar, num_videos)
