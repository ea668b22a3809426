"""Soaks a server and many runs: runs overlap, are killed and meet faults; at the end no row may be lost or doubled.

    nice python -m benchmarks.soak [--minutes 30] [--seed 1]

Videos arrive in a bucket of the tests' Cloud Storage server, some broken, and some are replaced. Two `repcount run` at a
time count them, into BigQuery or a DuckDB file, with slices, dates, a limit or all videos again. A share of the runs is killed
at a random moment.

Both servers answer a share of requests with 429, 500, 503 or a reset: before or after they carried them out, or in the middle
of the body. Listings lag behind. MERGEs that only insert overlap as they do in BigQuery. Decoder, pipeline, tables and Google's
clients are real. The model is the tests' fake one.

Then the faults end, and a last run counts what is missing. Its tables are compared with those of an undisturbed run.
The exit code is 1 if a row is lost, doubled or different, a run ended with a traceback, or files, processes or staged rows of a
run that ended by itself are left.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import os
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.report import print_result
from benchmarks.soak_bucket import Bucket, draw_contents
from benchmarks.soak_rows import Comparison, as_rows, compare
from transforms.warehouse.base import Warehouse
from transforms.warehouse.bigquery_warehouse import BigQueryWarehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

if TYPE_CHECKING:
    from tests.google_cloud.servers import Cloud

_SLOTS = 2
"""Runs at a time."""

_MAX_PHASE_SEC = 60.0
"""Most seconds for which runs write to DuckDB before they change to BigQuery, to which they write twice as long."""

_KILLED_SHARE = 0.6

_FAULT_SHARE = 0.03

_LAGGING_SHARE = 0.3

_MAX_HOLD_SEC = 6.0
"""Most seconds for which a MERGE is under way."""

_MAX_WAIT_SEC = 10.0
"""Most seconds for which a run that has ended waits for the other, so that the next two start together with the same videos."""

_MAX_RUN_SEC = 900.0
"""Seconds after which a run counts as hung. A run on a busy machine took more than 280."""

_OPTIONS: tuple[tuple[str, ...], ...] = (
    ("**",),
    ("**",),
    ("**", "--slices", "2"),
    ("**", "--slices", "4"),
    ("{date}/**", "--dates", "3d"),
    ("{date}/**", "--dates", "3d", "--slices", "3"),
    ("**", "--limit", "3"),
    ("**", "--mode", "all", "--sample", "0.3"),
)
"""What runs do: the end of the pattern, and options."""

_ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Ended:
    """A run that has ended.

    Attributes:
      output: Value of `--output`.
      started_sec: Time of its start, by the monotonic clock.
      ended_sec: Time of its end.
      returncode: Exit code; None if it hung and was therefore killed.
      was_killed: Whether it was killed at a random moment.
      run_id: Its id; "" if it did not say it.
      printed: What it printed, both streams.
      left_files: Names of temporary files that it left.
    """

    output: str
    started_sec: float
    ended_sec: float
    returncode: int | None
    was_killed: bool
    run_id: str
    printed: str
    left_files: tuple[str, ...]

    @property
    def problem(self) -> str:
        """What is wrong with how the run ended; "" if it is as documented."""
        if self.was_killed:
            return ""
        if self.returncode is None:
            return f"hung for {_MAX_RUN_SEC:.0f} s"
        if "Traceback" in self.printed or self.returncode not in (0, 1, 2):
            return f"ended with exit code {self.returncode} or a traceback"
        if self.returncode and not self.printed.splitlines()[-1].startswith("repcount run: "):
            return f"ended with exit code {self.returncode} without a line that says why"
        return f"left files: {', '.join(self.left_files)}" if self.left_files else ""

    @property
    def reason(self) -> str:
        """The last line of a run that failed, less names of its own."""
        line = self.printed.splitlines()[-1] if self.printed else ""
        return re.sub(r"\d{8}T\d{6}-[0-9a-f]{8}\S*|[0-9a-f]{12,}|\d{10,}", "…", line)[:200]


class Runs:
    """Starts runs, kills some, and keeps what became of them.

    Attributes:
      ended: Runs that have ended, in the order of their ends.
    """

    def __init__(self, folder: Path, variables: dict[str, str]) -> None:
        self.ended: list[Ended] = []
        self._folder = folder
        self._variables = variables
        self._number = 0
        self._sessions: set[int] = set()
        self._lock = threading.Lock()

    def run(self, arguments: Sequence[str], output: str, kill_after_sec: float | None = None) -> Ended:
        """Runs to the end, or to the given number of seconds."""
        with self._lock:
            self._number += 1
            temporary = self._folder / f"run-{self._number}"
        temporary.mkdir()
        started = time.monotonic()
        program = [sys.executable, "-m", "tests.support.fake_run", "run", "--strides", "1,2", "--max_failure_ratio", "1"]
        process = subprocess.Popen(
            [*program, "--show", "0", *arguments, "--output", output],
            cwd=_ROOT,
            env={**os.environ, **self._variables, "TMPDIR": str(temporary), "TF_CPP_MIN_LOG_LEVEL": "2"},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        with self._lock:
            self._sessions.add(process.pid)
        was_killed, code = False, None
        try:
            printed, _ = process.communicate(timeout=_MAX_RUN_SEC if kill_after_sec is None else kill_after_sec)
            code = process.returncode
        except subprocess.TimeoutExpired:
            was_killed = kill_after_sec is not None
            os.killpg(process.pid, signal.SIGKILL)
            printed, _ = process.communicate()
        found = re.search(r"run (\d{8}T\d{6}-[0-9a-f]{8})", printed)
        ended = Ended(
            output, started, time.monotonic(), code, was_killed, found[1] if found else "", printed.rstrip(),
            tuple(sorted(path.name for path in temporary.iterdir())),
        )  # fmt: skip
        with self._lock:
            self.ended.append(ended)
        return ended

    def typical_sec(self, output: str) -> float:
        """Returns how long a run takes that is not killed."""
        with self._lock:
            last = [run for run in self.ended if run.output == output and not run.was_killed][-9:]
        return statistics.median(run.ended_sec - run.started_sec for run in last) if last else 10.0

    def num_overlapping(self) -> int:
        """Returns the number of runs during which another one wrote to the same tables."""
        return sum(
            any(
                other is not run
                and other.output == run.output
                and other.started_sec < run.ended_sec
                and run.started_sec < other.ended_sec
                for other in self.ended
            )
            for run in self.ended
        )

    def left_processes(self) -> list[int]:
        """Returns the ids of processes that runs left."""
        left = []
        for path in Path("/proc").glob("[0-9]*/stat"):
            try:
                fields = path.read_text().rpartition(")")[2].split()
            except OSError:  # it has ended
                continue
            if int(fields[3]) in self._sessions and fields[0] != "Z":
                left.append(int(path.parent.name))
        return left


@dataclasses.dataclass(frozen=True)
class Target:
    """Where runs write.

    Attributes:
      warehouse: The tables.
      arguments: Further options for `repcount run`.
      output: Value of `--output`.
    """

    warehouse: Warehouse
    arguments: tuple[str, ...]
    output: str


def soak(
    targets: Sequence[Target], bucket: Bucket, runs: Runs, seed: int, until_sec: float, report: collections.Counter[str]
) -> None:
    """Changes the bucket, and starts and kills runs, until a time of the monotonic clock."""
    began, stopped, both = time.monotonic(), threading.Event(), threading.Barrier(_SLOTS)
    phase_sec = min(_MAX_PHASE_SEC, (until_sec - began) / 3)

    def use_slot(number: int) -> None:
        chance = random.Random(seed * 100 + number)
        while time.monotonic() < until_sec and not stopped.is_set():
            target = targets[int((time.monotonic() - began) // phase_sec) % 3 // 2]
            pattern, *options = chance.choice(_OPTIONS)
            kill_after = (
                runs.typical_sec(target.output) * chance.uniform(0.05, 1.0) if chance.random() < _KILLED_SHARE else None
            )
            ended = runs.run(
                ["--input", f"{bucket.uri}/{pattern}", *options, *target.arguments], target.output, kill_after_sec=kill_after
            )
            if not ended.was_killed:
                try:
                    both.wait(_MAX_WAIT_SEC)
                except threading.BrokenBarrierError:
                    both.reset()
            if ended.problem:
                print(f"A run with {pattern} {' '.join(options)} {ended.problem}:\n{ended.printed}", flush=True)

    chance, told_sec = random.Random(seed), began
    with ThreadPoolExecutor(_SLOTS) as threads:
        slots = [threads.submit(use_slot, number) for number in range(_SLOTS)]
        try:
            while time.monotonic() < until_sec:
                for _ in range(chance.randint(1, 4)):
                    bucket.change()
                time.sleep(chance.uniform(2, 10))
                if time.monotonic() - told_sec > 60:
                    told_sec = time.monotonic()
                    print(
                        f"{(told_sec - began) / 60:.0f} minutes: {len(bucket.versions):,} versions, {len(runs.ended):,} runs, "
                        f"{sum(run.was_killed for run in runs.ended):,} killed, {report.total():,} faults",
                        flush=True,
                    )
        finally:  # such as Ctrl-C
            stopped.set()
    for slot in slots:
        slot.result()  # raises what ended it early


def left_staging(cloud: Cloud, database: Path, ended: Sequence[Ended]) -> Iterator[str]:
    """Yields staged files and tables of runs that ended by themselves, and did not say that something is left."""
    tidy = [run.run_id for run in ended if run.run_id and not run.was_killed and "could not be deleted" not in run.printed]
    files = [f"gs://{cloud.bucket}/{name}" for name in cloud.objects("temp/")]
    files += [str(path) for path in database.parent.glob(f"{database.name}.staging-*")]
    for name in [*files, *(table for table in cloud.tables() if table.startswith("staging"))]:
        if any(run_id in name.replace("_", "-") for run_id in tidy):
            yield name


def finish(targets: Sequence[Target], bucket: Bucket, runs: Runs, folder: Path) -> tuple[dict[str, Comparison], list[str]]:
    """Lets a last run into each target count what is missing, and compares; returns what was found and what failed."""
    from tests.support.warehouses import contents

    problems = []
    days = bucket.add_last()
    calm = Target(DuckDBWarehouse(str(folder / "calm.duckdb")), (), f"duckdb:{folder / 'calm.duckdb'}")
    for target in (*targets, calm):
        last = runs.run(["--input", f"{bucket.uri}/**", *target.arguments], target.output)
        if last.returncode:
            problems.append(f"the last run into {target.output} failed: {last.printed}")
    undisturbed = as_rows(contents(calm.warehouse))
    found = {}
    for target in targets:
        ended = {run.run_id for run in runs.ended if run.output == target.output and run.returncode == 0}
        rows = as_rows(contents(target.warehouse))
        found[target.output.partition(":")[0]] = compare(rows, undisturbed, bucket.versions, bucket.current, ended, days)
    return found, problems


def measure(minutes: float, seed: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Soaks for a number of minutes; returns the numbers and everything that is wrong."""
    from tests.google_cloud import servers
    from tests.google_cloud.disturbances import OverlappingMerges, RandomFaults

    contents = draw_contents(folder)
    with servers.Servers(folder / "servers") as running:
        os.environ.update(running.variables)
        cloud = servers.Cloud(running)
        for proxy in (running.storage, running.bigquery):
            proxy.requests = collections.deque(maxlen=1)
        bucket, database = Bucket(cloud, contents, seed), folder / "soak.duckdb"
        targets = (
            Target(
                BigQueryWarehouse(cloud.project, cloud.dataset, cloud.temp_location),
                ("--temp_location", cloud.temp_location),
                cloud.output,
            ),
            Target(DuckDBWarehouse(str(database)), (), f"duckdb:{database}"),
        )
        runs = Runs(folder, running.variables)
        listed = f"/b/{cloud.bucket}/o?"
        faults = RandomFaults(
            seed, _FAULT_SHARE, lambda request: listed in request.path and "prefix=uploads" in request.path, _LAGGING_SHARE
        )
        merges = OverlappingMerges(lambda: time.sleep(random.uniform(0, _MAX_HOLD_SEC)))
        running.storage.intercept = faults
        running.bigquery.intercept = lambda request, answer: faults(request, lambda same: merges(same, answer))
        soak(targets, bucket, runs, seed, time.monotonic() + 60 * minutes, faults.numbers)
        running.storage.intercept = running.bigquery.intercept = None
        during = list(runs.ended)
        compared, problems = finish(targets, bucket, runs, folder)
        problems += [run.problem for run in runs.ended if run.problem]
        problems += [f"staged rows are left: {name}" for name in left_staging(cloud, database, runs.ended)]
        problems += [f"process {number} is left" for number in runs.left_processes()]
    failed = collections.Counter(run.reason for run in during if run.returncode)
    return {
        "runs": len(during),
        "killed": sum(run.was_killed for run in during),
        "overlapping": runs.num_overlapping(),
        "failed": failed.total(),
        "reasons": dict(failed.most_common()),
        "by_output": dict(collections.Counter(run.output.partition(":")[0] for run in during)),
        "faults": dict(faults.numbers.most_common()),
        "overlapping_merges": merges.number,
        "versions": len(bucket.versions),
        "videos": len(bucket.current),
        "rows": {name: found.rows for name, found in compared.items()},
        "rows_of_replaced_versions": {name: found.replaced for name, found in compared.items()},
        "gone": {name: found.gone for name, found in compared.items()},
        "killed_in_commit": {name: found.halfway for name, found in compared.items()},
        **{what: sum(len(getattr(found, what)) for found in compared.values()) for what in ("lost", "doubled", "different")},
        "other_problems": len(problems),
    }, problems + [
        f"{name}: {line}" for name, found in compared.items() for line in found.lost + found.doubled + found.different
    ]


def main(argv: Sequence[str] | None = None) -> None:
    """Soaks, prints the numbers, and ends with exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=30.0, help="minutes in which runs are started. Default: 30")
    parser.add_argument("--seed", type=int, default=1, help="seed of what happens at random. Default: 1")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory(prefix="repcount-soak-") as folder:
        numbers, problems = measure(args.minutes, args.seed, Path(folder))
    for problem in problems:
        print(problem)
    for name, value in numbers.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print_result("soak", minutes=args.minutes, seed=args.seed, **numbers)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
