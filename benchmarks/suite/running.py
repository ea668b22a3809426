"""Runs benchmarks one after another, each as a process of its own, and keeps their figures."""

from __future__ import annotations

import contextlib
import datetime
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import IO, Any

from benchmarks.suite.comparison import missing_figures
from benchmarks.suite.entries import Entry
from benchmarks.suite.figures import ROOT, Record, merge_record, read_figures
from model.precision import Precision, best_precision

_GRACE_SEC = 10.0
"""Time that an interrupted benchmark has to delete its temporary files."""

_ERROR_LINES = 15

_RESULT_START = '{"benchmark": '
"""Start of a benchmark's final line, which is not shown."""


class BenchmarkError(Exception):
    """A benchmark failed, or printed no result."""


def run_entries(
    entries: Sequence[Entry],
    path: Path,
    run: Callable[[Entry], Record] | None = None,
    say: Callable[[str], None] = print,
    precision: str | None = None,
) -> list[str]:
    """Runs each entry once, and merges its record into the file of figures as soon as it is there.

    Args:
      entries: What to run, in this order.
      path: The file of figures.
      run: Runs one entry; raises `BenchmarkError`. Default: `run_entry`.
      say: Prints a line of progress.
      precision: The fastest number format of this processor. Default: `best_precision`.

    Returns:
      The names of the entries that failed, or whose results lack a figure that is quoted.

    Raises:
      FiguresError: The file of figures cannot be read.
    """
    run, before, failed, began_sec = run or run_entry, read_figures(path), [], time.monotonic()
    if (precision or best_precision()) != Precision.BFLOAT16:
        for entry in entries:
            if entry.needs_bfloat16:
                say(f"{entry.name} is left out: this processor has no instructions that multiply bfloat16")
        entries = [entry for entry in entries if not entry.needs_bfloat16]
    for number, entry in enumerate(entries, 1):
        lasted = f", about {clock(before[entry.name].seconds)}" if entry.name in before else ""
        say(f"[{number}/{len(entries)}, {clock(time.monotonic() - began_sec)}] {entry.name}{lasted}: {entry.command}")
        try:
            record = run(entry)
        except BenchmarkError as error:
            failed.append(entry.name)
            say(f"{entry.name} failed: {error}")
            continue
        merge_record(path, entry.name, record)
        missing = list(missing_figures(entry.comparisons, record.results))
        if missing:
            failed.append(entry.name)
            say(f"{entry.name}: {'; '.join(missing)}")
    say(f"{len(entries) - len(failed)} of {len(entries)} benchmarks in {clock(time.monotonic() - began_sec)}")
    return failed


def run_entry(entry: Entry, root: Path = ROOT) -> Record:
    """Runs a benchmark and passes on what it prints.

    Args:
      entry: What to run.
      root: Folder with the package `benchmarks`.

    Raises:
      BenchmarkError: Its exit code is not 0, or its last line is no result.
    """
    began_sec, busy_before_sec = time.monotonic(), _busy_sec()
    command = [sys.executable, "-m", f"benchmarks.{entry.arguments[0]}", *entry.arguments[1:]]
    last = ""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as messages:
        with _started(command, root, messages) as process:
            assert process.stdout is not None
            for line in process.stdout:
                last = line.rstrip()
                if not last.startswith(_RESULT_START):
                    print(f"  {last}", flush=True)
            code = process.wait()
        if code:
            messages.seek(0)
            raise BenchmarkError("\n  ".join([f"exit code {code}", *messages.read().splitlines()[-_ERROR_LINES:]]))
    seconds, busy_sec = time.monotonic() - began_sec, _busy_sec()
    results = parse_result(last)
    return Record(
        command=entry.command,
        date=f"{datetime.datetime.now(datetime.UTC):%Y-%m-%d}",
        commit=_commit(root),
        seconds=round(seconds, 1),
        other_cores=None
        if busy_sec is None or busy_before_sec is None
        else round(max(0, busy_sec - busy_before_sec) / seconds, 2),
        machine=results.pop("machine"),
        results=results,
    )


def parse_result(line: str) -> dict[str, Any]:
    """Returns a benchmark's results and `machine` from its final line of JSON.

    Raises:
      BenchmarkError: It is no such line.
    """
    try:
        results = json.loads(line)
        del results["benchmark"]
        results["machine"]["processor"]
    except (ValueError, TypeError, LookupError) as error:
        raise BenchmarkError(f"the last line must be a JSON object with benchmark and machine. Received: {line}") from error
    return results


def clock(seconds: float) -> str:
    """Returns a duration as minutes:seconds."""
    return f"{round(seconds) // 60}:{round(seconds) % 60:02d}"


@contextlib.contextmanager
def _started(command: Sequence[str], root: Path, messages: IO[str]) -> Iterator[subprocess.Popen[str]]:
    """Starts a command in a group of processes of its own, and ends the whole group if the body does not."""
    environment = {"TF_CPP_MIN_LOG_LEVEL": "2", **os.environ, "PYTHONUNBUFFERED": "1"}
    with subprocess.Popen(
        command, cwd=root, env=environment, stdout=subprocess.PIPE, stderr=messages, text=True, start_new_session=True
    ) as process:
        try:
            yield process
        except BaseException:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_GRACE_SEC)
                os.killpg(process.pid, signal.SIGKILL)
            raise


def _commit(root: Path) -> str:
    def git(*words: str) -> str:
        return subprocess.run(("git", *words), cwd=root, check=True, capture_output=True, text=True).stdout.strip()

    try:
        return git("rev-parse", "--short", "HEAD") + ("-dirty" if git("status", "--porcelain", "--", "*.py") else "")
    except (OSError, subprocess.CalledProcessError):
        return ""


def _busy_sec() -> float | None:
    """Returns the processor time that this machine has spent, but on ended children of this process; None where nothing tells.

    Time that a host gave to other machines counts as spent.
    """
    try:
        fields = Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    except OSError:
        return None
    user, nice, system, _, _, irq, softirq, steal, *_ = map(int, fields)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    ticks = user + nice + system + irq + softirq + steal
    return ticks / os.sysconf("SC_CLK_TCK") - children.ru_utime - children.ru_stime
