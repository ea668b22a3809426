"""Measures what the progress display of a run on this machine costs, as a share of one core.

    python -m benchmarks.progress [--frames 768] [--videos 100000]

A run marks each chunk that it has scored. Every half second it reads the new marks and draws its bars. Both are timed here,
late in a run with many videos, beside the scoring of a chunk by `lite`.
"""

from __future__ import annotations

import argparse
import datetime
import os
import statistics
import tempfile
import time
from collections.abc import Iterator, Sequence

import numpy as np
from rich.console import Console

from benchmarks.report import median_sec, print_result
from benchmarks.warm_model import lite
from pipeline.progress_display import INTERVAL_SEC, Bars
from pipeline.progress_figures import WholeRun
from transforms.progress import mark, write_totals
from transforms.records import ChunkScores, SelectionTotals, Slice, VideoRef

_LOOKS = 30

_MARKS_PER_LOOK = 100
"""More chunks than this machine scores between two looks."""

_WIDTH = 120


def measure_display(num_videos: int, num_frames: int) -> tuple[float, float]:
    """Returns the CPU time in seconds of a mark, and the median of one look at the marks that also draws the bars."""
    chunks = _chunks(num_frames)
    with tempfile.TemporaryDirectory(prefix="repcount-") as folder, open(os.devnull, "w", encoding="utf-8") as nowhere:
        path = os.path.join(folder, "progress")
        write_totals(SelectionTotals(2 * num_videos, 0, 0), path)
        started_sec = time.process_time()
        for _ in range(num_videos):
            mark(next(chunks), path)
        mark_sec = (time.process_time() - started_sec) / num_videos
        console = Console(file=nowhere, force_terminal=True, width=_WIDTH)
        whole = WholeRun(Slice(1, 2), 4 * num_videos, 0)
        look_secs = []
        with Bars(path, whole, console) as bars:
            bars.show()  # which reads what was marked up to now
            for _ in range(_LOOKS):
                for _ in range(_MARKS_PER_LOOK):
                    mark(next(chunks), path)
                started_sec = time.process_time()
                bars.show()
                look_secs.append(time.process_time() - started_sec)
    return mark_sec, statistics.median(look_secs)


def share_of_core(mark_sec: float, look_sec: float, score_sec: float) -> float:
    """Returns the share of one core that marking and looking take, 0..1, from the times in seconds of each."""
    return mark_sec / score_sec + look_sec / INTERVAL_SEC


def _chunks(num_frames: int) -> Iterator[ChunkScores]:
    """Yields scored chunks without logits, each of another video."""
    updated, times_sec = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC), np.arange(num_frames) / 30
    number = 0
    while True:
        yield ChunkScores(VideoRef(f"gs://gym/2026-01-01/{number:07d}.mp4", 1, 1, updated), 0, {}, times_sec, None)
        number += 1


def main(argv: Sequence[str] | None = None) -> None:
    """Measures and prints both sides and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--frames", type=int, default=768, help="frames in a chunk. Default: %(default)s")
    parser.add_argument("--videos", type=int, default=100_000, help="videos marked before. Default: %(default)s")
    args = parser.parse_args(argv)
    mark_sec, look_sec = measure_display(args.videos, args.frames)
    frames = np.random.default_rng(0).integers(0, 256, (args.frames, 112, 112, 3), np.uint8)
    scorer = lite()
    scorer.score(frames)  # which compiles
    score_sec, _ = median_sec(lambda: scorer.score(frames), 3)
    share = share_of_core(mark_sec, look_sec, score_sec)
    print(f"a mark {1e6 * mark_sec:.0f} µs, a look {1e3 * look_sec:.1f} ms, a chunk of {args.frames} frames {score_sec:.2f} s")
    print(f"display against scoring: {100 * share:.2f} % of one core")
    sides = {"mark_sec": mark_sec, "look_sec": look_sec, "score_sec": score_sec}
    print_result("progress", frames=args.frames, videos=args.videos, **sides, share=share)


if __name__ == "__main__":
    main()
