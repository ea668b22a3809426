"""Measures how long copying a remote video to local disk takes: with Cloud Storage's client, as decoding does, and with Beam.

    python -m benchmarks.reading [--repeats 3] [--megabytes 5 500]

The storage server of the tests holds the objects, on the same cores. So this measures the work of the client, not a network.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystems import FileSystems

from benchmarks.report import print_result
from transforms.decoding.local_copy import open_video
from transforms.objects import COPY_BUFFER_BYTES, find_object


def copy_with_client(uri: str, _: BinaryIO) -> None:
    """Copies an object as decoding does."""
    video = find_object(uri)
    if video is None:
        raise SystemExit(f"{uri} is not there")
    with open_video(video):
        pass


def copy_with_beam(uri: str, copy: BinaryIO) -> None:
    """Copies an object with Beam's file system."""
    with FileSystems.open(uri) as source:
        shutil.copyfileobj(source, copy, COPY_BUFFER_BYTES)


def measure(methods: dict[str, Callable[[str, BinaryIO], None]], uri: str, repeats: int) -> dict[str, float]:
    """Returns the median seconds of each method; methods take turns."""
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            with tempfile.TemporaryFile() as copy:
                started = time.perf_counter()
                method(uri, copy)
                spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in spent.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    from tests.google_cloud import servers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=3, help="number of measurements, of which to take the median. Default: 3"
    )
    parser.add_argument("--megabytes", type=int, nargs="+", default=[5, 500], help="sizes of the objects in MB. Default: 5 500")
    args = parser.parse_args(argv)
    results = {}
    with tempfile.TemporaryDirectory() as name, servers.Servers(Path(name, "servers")) as running:
        os.environ.update(running.variables)
        os.environ["STORAGE_EMULATOR_HOST"] = f"http://{running.storage.upstream}"  # bypasses the tests' proxy
        cloud = servers.Cloud(running)
        for megabytes in args.megabytes:
            uri = cloud.upload(f"{megabytes}.mp4", os.urandom(megabytes * 1_000_000))
            times = measure({"client": copy_with_client, "beam": copy_with_beam}, uri, args.repeats)
            ratio = times["beam"] / times["client"]
            print(
                f"{megabytes} MB: client {times['client']:.3f} s, Beam {times['beam']:.3f} s, {ratio:.1f} times as long",
                flush=True,
            )
            results[f"{megabytes}MB"] = {**{method: round(sec, 3) for method, sec in times.items()}, "ratio": round(ratio, 2)}
    print_result("reading", **results)


if __name__ == "__main__":
    main()
