"""What is shown of a job on other machines while this program waits for it: its page, its states, and its counters."""

from __future__ import annotations

import collections
import contextlib
import datetime
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from apache_beam.metrics.metric import MetricsFilter
from apache_beam.options.pipeline_options import GoogleCloudOptions, PipelineOptions, StandardOptions
from apache_beam.runners.runner import PipelineResult
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner
from rich.text import Text

from pipeline.launch import DATAFLOW_RUNNER
from pipeline.progress_display import LINE_SEC, is_shown, logs_above_display, tell
from pipeline.progress_figures import Figures, Pace, WholeRun, flow, progress_line
from transforms.failure_codes import describe_error
from transforms.records import METRICS_NAMESPACE
from transforms.text import printable

T = TypeVar("T")

_INTERVAL_SEC = 15.0
"""Seconds between two requests for the state of a job and its counters, which the service updates about as often."""

_LEAVE_SEC = 1.0
"""Longest time in seconds that a job which has ended waits for a request that is under way."""

_THREAD = "repcount-job"
"""Name of the thread that looks at the job."""

_NOISY = ("apache_beam.runners.dataflow.internal.apiclient", "apache_beam.utils.retry")
"""Loggers of Beam that report each request that fails, although it is repeated, and the job goes on anyway."""


def job_page(result: PipelineResult, options: PipelineOptions) -> str:
    """Returns the address of a job's page in Google Cloud's console; "" if it has none, since it is not on Dataflow."""
    if options.view_as(StandardOptions).runner != DATAFLOW_RUNNER or not getattr(result, "has_job", False):
        return ""
    cloud = options.view_as(GoogleCloudOptions)
    page = f"https://console.cloud.google.com/dataflow/jobs/{cloud.region}/{result.job_id()}?project={cloud.project}"
    return printable(page)


def wait_for_job(result: PipelineResult, options: PipelineOptions, whole: WholeRun | None = None) -> str:
    """Waits until a job on other machines has ended, and shows meanwhile how far it is; returns its last state.

    Prints the job's page, each state with its time and, every minute, the counters; on a terminal a line shows them all the
    time. If the service does not answer, a line says so, and waiting goes on.

    Args:
      result: The job.
      options: Beam's options for it.
      whole: The run that the job's slice is part of. None for a run without slices.
    """
    if not is_shown():
        return str(result.wait_until_finish())
    page = job_page(result, options)
    if page:
        tell(f"job: {page}")  # before rich shows anything, since rich would break the line
    with _live_line() as show:
        watch = _Watch(result, whole, show)
        try:
            with _in_background(watch):
                state = str(result.wait_until_finish())
        except KeyboardInterrupt:
            tell(f"the job goes on, and is paid for, unless you cancel it{f': {page}' if page else ''}")
            raise
        except Exception:
            if getattr(result, "is_in_terminal_state", lambda: False)():  # then its state is known without a request
                watch.note_state(str(result.state))
            raise
        watch.note_state(state)
    return state


class _Watch:
    """Asks for the state and the counters of a job, and shows them.

    Attributes:
      over: Set when nothing is to be shown any more.
    """

    def __init__(self, result: PipelineResult, whole: WholeRun | None, show: Callable[[list[str]], bool]) -> None:
        self._result = result
        self._whole = whole
        self._show = show
        self._pace = Pace()
        self._state = ""
        self._told: Figures | None = None
        self._next_sec = 0.0
        self._silent: set[str] = set()
        self.over = threading.Event()

    def look(self) -> None:
        """Asks once and shows what is new."""
        state = self._ask("state", lambda: str(self._result.state))
        if state is not None:
            self.note_state(state)
        figures = self._ask("counters", lambda: read_counters(self._result))
        if figures is not None and figures.listed:
            self._pace.update(figures, time.monotonic())
            self._tell(figures)

    def note_state(self, state: str) -> None:
        """Prints a state with its time, if it is a new one."""
        if state != self._state:
            self._state = state
            now = datetime.datetime.now(datetime.UTC)
            tell(f"{now:%Y-%m-%d %H:%M:%S} UTC: the job is {state}")
            self._show([state])

    def _tell(self, figures: Figures) -> None:
        """Shows the counters on the live line; without one, prints them if they are new, and not more than once a minute."""
        pace = self._pace
        names = [str(self._whole.part)] if self._whole else []
        listed = [f"listed {figures.listed:,}", f"skipped {figures.skipped:,}"]
        done = [f"done {figures.done:,} of {figures.selected:,}", f"failed {figures.failed:,}"]
        left = pace.left(figures.selected - figures.done)
        parts = [self._state, *names, *listed, *done, *pace.spelled(), *([left] if left else [])]
        if self._show(parts):
            return
        now_sec = time.monotonic()
        if figures != self._told and now_sec >= self._next_sec:
            self._told, self._next_sec = figures, now_sec + LINE_SEC
            tell(progress_line(figures, pace, self._whole))

    def _ask(self, what: str, request: Callable[[], T]) -> T | None:
        """Returns the answer; None if there is none, which a line says the first time, or if nothing is to be shown."""
        try:
            answer = request()
        except Exception as error:  # of whichever client; the job does not depend on what is shown of it
            if what not in self._silent and not self.over.is_set():
                tell(f"the job goes on, but its {what} cannot be read: {describe_error(error)}")
            self._silent.add(what)
            return None
        self._silent.discard(what)
        return None if self.over.is_set() else answer


def read_counters(result: PipelineResult) -> Figures:
    """Returns how far a job is, from Beam's metrics of work that is under way or done.

    Videos are counted after all of them are scored. Until then those that are scored, and the failures found, are the progress.
    """
    found = result.metrics().query(MetricsFilter().with_namespace(METRICS_NAMESPACE))["counters"]
    values: collections.Counter[str] = collections.Counter()
    for metric in found:
        values[metric.key.metric.name] += int(metric.attempted or metric.committed or 0)
    selected, counted = values["videos_selected"], values["videos_counted"] + values["videos_failed"]
    done = min(max(values["videos_scored"], counted), selected)
    failed = values["videos_failed"] if counted >= done else values["failures_found"]
    skipped = values["videos_skipped"]
    return Figures(selected + skipped, skipped, done, min(failed, done), values["frames_scored"])


@contextlib.contextmanager
def _live_line() -> Iterator[Callable[[list[str]], bool]]:
    """Yields a function that shows parts of a line beside a spinner; it returns False if this is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda parts: False
        return

    spinner = Spinner("dots", Text("waiting for the job"))

    def show(parts: list[str]) -> bool:
        spinner.update(text=Text("\n".join(flow(map(printable, parts), console.width - 2))))
        return True

    is_one = sys.stdout.isatty()  # else what is printed on standard output must stay there, not go to the terminal
    with Live(spinner, console=console, transient=True, redirect_stdout=is_one), logs_above_display():
        yield show


@contextlib.contextmanager
def _in_background(watch: _Watch) -> Iterator[None]:
    """Lets `watch` look at once and at intervals, in a thread, while the body runs.

    Beam repeats a request that fails for up to minutes. So the end of the body does not wait for the thread for long.
    """

    def repeat() -> None:
        while not watch.over.is_set():
            watch.look()
            watch.over.wait(_INTERVAL_SEC)

    for name in _NOISY:
        logging.getLogger(name).addFilter(_is_of_another_thread)
    thread = threading.Thread(target=repeat, name=_THREAD, daemon=True)
    thread.start()
    try:
        yield
    finally:
        watch.over.set()
        thread.join(_LEAVE_SEC)


def _is_of_another_thread(record: logging.LogRecord) -> bool:
    """Returns False for messages of the thread that looks at the job, which says itself what matters."""
    return record.threadName != _THREAD
