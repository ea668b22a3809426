"""Loads the HTTP service with requests for short clips, and compares it with `repcount count` of the same clips.

    python -m benchmarks.serving [--requests 200] [--clients 8] [--turns 4]

Draws clips, and starts `repcount serve` as a process on loopback, with tables in a DuckDB file. Then, in this order:

- `counted`: the clients ask for each clip once. Turn by turn, `repcount count` counts the same clips. Loading the model is not
  measured, nor is the first clip of each turn.
- `tables`: the clients ask again, and every answer comes from the tables.
- `crowded`: some of the clips, at a server whose queue has two places. Clients that get 429 wait as `Retry-After` says.

`ratio` is the rate of the server against that of `repcount count`. `processor_ratio` is the same per second of processor time,
and varies less on a machine with other work. Every answer is compared with that of `repcount count`. Memory is that of the
server and its decoder while they count: the median of the last quarter against that of the second. The exit code is 1 if an
answer is wrong or has an unexpected status.
"""

from __future__ import annotations

import argparse
import collections
import dataclasses
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import requests

from benchmarks.decoding import encode
from benchmarks.processes import family
from benchmarks.report import print_result
from tests.support.serving import ServerProcess

_NUM_DRAWN = 10
"""Clips that are drawn; the others are copies of these, so they are other videos to the server."""

_SIZE = (480, 270)

_FIRST_FRAMES, _MORE_FRAMES = 90, 9
"""Frames of the shortest clip, and how many more each next one has."""

_CROWDED_QUEUE = 2

_CROWDED_SHARE = 0.2

_TIMEOUT_SEC = 300.0

_SAMPLE_SEC = 0.2

_ROOT = Path(__file__).parents[1]


@dataclasses.dataclass(frozen=True)
class Reply:
    """What a client got for a clip in the end.

    Attributes:
      name: Name of the clip.
      statuses: HTTP status of each try.
      first_sec: Time of the first try, by the monotonic clock.
      last_sec: Time of the answer.
      body: JSON of the answer.
    """

    name: str
    statuses: tuple[int, ...]
    first_sec: float
    last_sec: float
    body: Mapping[str, Any]


class Memory:
    """Samples the resident memory of a process and its children in a thread; a context manager for each stretch.

    Attributes:
      mib: Samples in MiB, in their order.
    """

    def __init__(self, pid: int) -> None:
        self.mib: list[float] = []
        self._pid = pid

    def __enter__(self) -> Memory:
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._is_over.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._is_over.wait(_SAMPLE_SEC):
            self.mib.append(resident_mib(self._pid))


def resident_mib(pid: int) -> float:
    """Returns the resident memory of a process and its children in MiB."""
    lines = [line for folder in family(pid) for line in (folder / "status").read_text().splitlines()]
    return sum(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def processor_sec(pid: int) -> float:
    """Returns the seconds of processor time that a process and its children have taken."""
    fields = [(folder / "stat").read_text().rpartition(")")[2].split() for folder in family(pid)]
    return sum(int(of_one[11]) + int(of_one[12]) for of_one in fields) / os.sysconf("SC_CLK_TCK")


def growth(samples: Sequence[float]) -> float | None:
    """Returns the median of the last quarter of samples against that of the second quarter; None for fewer than four."""
    quarter = len(samples) // 4
    if not quarter:
        return None
    return statistics.median(samples[-quarter:]) / statistics.median(samples[quarter : 2 * quarter])


def draw_clips(folder: Path, number: int) -> list[str]:
    """Draws clips into a folder; returns their names."""
    names = [f"{index:03}.mp4" for index in range(number)]
    for index, name in enumerate(names):
        if index < _NUM_DRAWN:
            encode(folder / name, _SIZE, _FIRST_FRAMES + _MORE_FRAMES * index)
        else:
            shutil.copyfile(folder / names[index % _NUM_DRAWN], folder / name)
    return names


def ask(url: str, name: str) -> Reply:
    """Asks for a clip, again after each 429, until there is another answer."""
    first, statuses = time.monotonic(), []
    while True:
        response = requests.get(f"{url}/count", params={"name": name}, timeout=_TIMEOUT_SEC)
        statuses.append(response.status_code)
        if response.status_code != 429:
            return Reply(name, tuple(statuses), first, time.monotonic(), response.json())
        time.sleep(float(response.headers["retry-after"]))


def ask_all(url: str, names: Sequence[str], num_clients: int) -> list[Reply]:
    """Returns the replies for clips, which so many clients ask for at a time."""
    with ThreadPoolExecutor(num_clients) as clients:
        return list(clients.map(lambda name: ask(url, name), names))


@dataclasses.dataclass(frozen=True)
class Speed:
    """How fast clips were counted.

    Attributes:
      per_sec: Clips per second.
      processor_sec: Seconds of processor time per clip.
    """

    per_sec: float
    processor_sec: float


def serve_all(server: ServerProcess, names: Sequence[str], num_clients: int) -> tuple[list[Reply], Speed]:
    """Asks a server for clips; returns the replies and its speed."""
    began_sec = processor_sec(server.process.pid)
    replies = ask_all(server.url, names, num_clients)
    taken_sec = processor_sec(server.process.pid) - began_sec
    times = [reply.last_sec for reply in replies]
    return replies, Speed((len(times) - 1) / (max(times) - min(times)), taken_sec / len(replies))


def count_all(folder: Path, names: Sequence[str]) -> tuple[dict[str, dict[str, Any]], Speed]:
    """Counts three clips or more with `repcount count`; returns what it prints, by name, and its speed after the first one."""
    command = [sys.executable, "-m", "pipeline", "count", "--json", *(str(folder / name) for name in names)]
    records, times, taken_sec = {}, [], []
    with subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            times.append(time.monotonic())
            if len(times) < len(names):  # after the last one, the process ends
                taken_sec.append(processor_sec(process.pid))
            record = json.loads(line)
            records[Path(record["video_uri"]).name] = record
    return records, Speed((len(times) - 1) / (times[-1] - times[0]), (taken_sec[-1] - taken_sec[0]) / (len(taken_sec) - 1))


def find_wrong(replies: Sequence[Reply], records: Mapping[str, Mapping[str, Any]], source: str) -> list[str]:
    """Returns a line for each reply that is not 200 in the end, is from elsewhere, or differs from `repcount count`."""
    wrong = []
    for reply in replies:
        expected = {**records[reply.name], "source": source, "wall_sec": None}
        if reply.statuses[-1] != 200 or set(reply.statuses[:-1]) - {429}:
            wrong.append(f"{reply.name} got {reply.statuses}: {dict(reply.body)}")
        elif {**reply.body, "wall_sec": None} != expected:
            different = [name for name in expected if name != "wall_sec" and reply.body.get(name) != expected[name]]
            wrong.append(f"{reply.name} differs from repcount count in {', '.join(different)}")
    return wrong


def summarize(replies: Sequence[Reply]) -> dict[str, Any]:
    """Returns the statuses of all tries, and the latency of the answers in seconds, waits after 429 included."""
    latencies = sorted(reply.last_sec - reply.first_sec for reply in replies)
    statuses = collections.Counter(status for reply in replies for status in reply.statuses)
    return {
        "statuses": {str(status): number for status, number in sorted(statuses.items())},
        "median_sec": round(statistics.median(latencies), 3),
        "p95_sec": round(latencies[min(len(latencies) - 1, int(0.95 * len(latencies)))], 3),
    }


def _medians(speeds: Sequence[Speed]) -> dict[str, float]:
    return {
        "per_sec": round(statistics.median(speed.per_sec for speed in speeds), 2),
        "processor_sec": round(statistics.median(speed.processor_sec for speed in speeds), 3),
    }


def measure(num_requests: int, num_clients: int, num_turns: int, folder: Path) -> tuple[dict[str, Any], list[str]]:
    """Runs the rounds; returns the numbers and everything that is wrong."""
    names = draw_clips(folder, num_requests)
    records: dict[str, dict[str, Any]] = {}
    counted: list[Reply] = []
    served: list[Speed] = []
    alone: list[Speed] = []
    with ServerProcess("--base", folder, "--output", f"duckdb:{folder / 'counts.duckdb'}") as server:
        server.wait_ready()
        memory = Memory(server.process.pid)
        for turn in range(num_turns):
            chosen = names[turn::num_turns]
            for side in ("served", "alone") if turn % 2 == 0 else ("alone", "served"):
                if side == "served":
                    with memory:
                        replies, speed = serve_all(server, chosen, num_clients)
                    counted += replies
                    served.append(speed)
                else:
                    printed, speed = count_all(folder, chosen)
                    records |= printed
                    alone.append(speed)
            print(
                f"turn {turn + 1}: {served[-1].per_sec:.2f} clips/s served, {alone[-1].per_sec:.2f} with repcount count; "
                f"{served[-1].processor_sec:.2f} and {alone[-1].processor_sec:.2f} s of processor time per clip; "
                f"{resident_mib(server.process.pid):,.0f} MiB",
                flush=True,
            )
        began = time.monotonic()
        found = ask_all(server.url, names, num_clients)
        found_rate = len(found) / (time.monotonic() - began)
        code = server.end()
    with ServerProcess("--base", folder, "--max_queue", _CROWDED_QUEUE) as server:
        server.wait_ready()
        crowded = ask_all(server.url, names[: max(1, round(_CROWDED_SHARE * num_requests))], num_clients)
        codes = (code, server.end())
    problems = [f"a server ended with code {code}" for code in codes if code]
    problems += find_wrong(counted, records, "counted") + find_wrong(found, records, "tables")
    problems += find_wrong(crowded, records, "counted")
    pairs = list(zip(served, alone, strict=True))
    changed = growth(memory.mib)
    return {
        "counted": {**summarize(counted), **_medians(served)},
        "repcount_count": _medians(alone),
        "ratio": round(statistics.median(ours.per_sec / other.per_sec for ours, other in pairs), 3),
        "processor_ratio": round(statistics.median(other.processor_sec / ours.processor_sec for ours, other in pairs), 3),
        "tables": {**summarize(found), "per_sec": round(found_rate, 1)},
        "crowded": summarize(crowded),
        "memory_mib": round(max(memory.mib, default=0)),
        "memory_growth": None if changed is None else round(changed, 3),
        "wrong": len(problems),
    }, problems


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the rounds, prints the numbers, and ends with exit code 1 if something is wrong."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--requests", type=int, default=200, help="number of clips to ask for. Default: 200")
    parser.add_argument("--clients", type=int, default=8, help="requests at a time. Default: 8")
    parser.add_argument("--turns", type=int, default=4, help="turns that the server and repcount count take. Default: 4")
    args = parser.parse_args(argv)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
    with tempfile.TemporaryDirectory(prefix="repcount-serving-") as folder:
        numbers, problems = measure(args.requests, args.clients, args.turns, Path(folder))
    for problem in problems:
        print(problem)
    for name, value in numbers.items():
        print(f"{name.replace('_', ' ')}: {value}")
    print_result("serving", requests=args.requests, clients=args.clients, turns=args.turns, **numbers)
    if problems:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
