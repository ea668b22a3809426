"""Reading a remote video to local disk: by Cloud Storage's own client, as decoding does, against Beam's file system.

    python -m benchmarks.reading [--repeats 3] [--megabytes 5 500]

The objects lie with the storage server that the tests use, on the same cores, so what is measured is the client's work.
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


def by_client(uri: str, _: BinaryIO) -> None:
    """Reads as decoding does."""
    video = find_object(uri)
    if video is None:
        raise SystemExit(f"{uri} is not there")
    with open_video(video):
        pass


def by_beam(uri: str, copy: BinaryIO) -> None:
    """Reads by Beam's file system."""
    with FileSystems.open(uri) as source:
        shutil.copyfileobj(source, copy, COPY_BUFFER_BYTES)


def measure(ways: dict[str, Callable[[str, BinaryIO], None]], uri: str, repeats: int) -> dict[str, float]:
    """Returns the median seconds of each way, measured in turns."""
    spent: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(repeats):
        for name, way in ways.items():
            with tempfile.TemporaryFile() as copy:
                started = time.perf_counter()
                way(uri, copy)
                spent[name].append(time.perf_counter() - started)
    return {name: statistics.median(times) for name, times in spent.items()}


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints."""
    from tests.google_cloud import servers

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="of which the median counts. Default: 3")
    parser.add_argument("--megabytes", type=int, nargs="+", default=[5, 500], help="sizes of the objects. Default: 5 500")
    args = parser.parse_args(argv)
    results = {}
    with tempfile.TemporaryDirectory() as name, servers.Servers(Path(name, "servers")) as running:
        os.environ.update(running.variables)
        os.environ["STORAGE_EMULATOR_HOST"] = f"http://{running.storage.upstream}"  # without the tests' proxy between
        cloud = servers.Cloud(running)
        for megabytes in args.megabytes:
            uri = cloud.upload(f"{megabytes}.mp4", os.urandom(megabytes * 1_000_000))
            times = measure({"client": by_client, "beam": by_beam}, uri, args.repeats)
            ratio = times["beam"] / times["client"]
            print(
                f"{megabytes} MB: client {times['client']:.3f} s, Beam {times['beam']:.3f} s, {ratio:.1f} times as long",
                flush=True,
            )
            results[f"{megabytes}MB"] = {**{way: round(sec, 3) for way, sec in times.items()}, "ratio": round(ratio, 2)}
    print_result("reading", **results)


if __name__ == "__main__":
    main()
