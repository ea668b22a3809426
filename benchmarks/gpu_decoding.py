"""Measures how fast an NVIDIA GPU decodes videos, against the processor of the same machine. Needs such a GPU.

    python -m benchmarks.gpu_decoding [--streams 1 4 16] [--seconds 10] [--repeats 3]

Draws videos and decodes them as the pipeline does, in one decoder process a stream: with `--decoder nvdec` and with `--decoder
cpu`, in turns. It also prints how far the frames of the two differ. A video that the GPU does not decode ends the benchmark,
with the reason.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import statistics
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from benchmarks.decoding import FPS, OPTIONS, SIZES, encode
from benchmarks.report import print_result
from transforms.decoding.gpus import has_nvidia_gpu
from transforms.decoding.process import DecoderProcess
from transforms.decoding.video_facts import NvdecUse

VIDEOS = (("720p", "H.264"), ("1080p", "H.264"), ("1080p", "HEVC"))
"""Size and codec of each video."""

DECODERS = ("cpu", "nvdec")


def read(process: DecoderProcess, path: Path, decoder: str) -> np.ndarray:
    """Returns the frames of a video, (num_frames, 112, 112, 3) uint8; raises SystemExit if the GPU should have decoded it."""
    with path.open("rb") as file:
        samples = list(process.read(file, dataclasses.replace(OPTIONS, decoder=decoder)))
    facts = samples[-1].facts
    used = facts.nvdec if facts else NvdecUse.FAILED
    if decoder == "nvdec" and used != NvdecUse.USED:
        raise SystemExit(f"{path.name} must be decoded by the GPU. Received: {used}, see docs/operations.md")
    return np.concatenate([part.frames for part in samples])


def frames_per_sec(path: Path, streams: int, repeats: int) -> dict[str, float]:
    """Returns the frames decoded a second with each of `DECODERS`: medians of `repeats` turns of `streams` videos at once."""
    rates: dict[str, list[float]] = {decoder: [] for decoder in DECODERS}
    with contextlib.ExitStack() as stack:
        threads = stack.enter_context(ThreadPoolExecutor(streams))
        processes = {
            decoder: [stack.enter_context(contextlib.closing(DecoderProcess())) for _ in range(streams)] for decoder in DECODERS
        }

        def turn(decoder: str) -> float:
            started = time.perf_counter()
            frames = threads.map(lambda process: len(read(process, path, decoder)), processes[decoder])
            return sum(frames) / (time.perf_counter() - started)

        for decoder in DECODERS:
            turn(decoder)  # starts the processes
        for _ in range(repeats):
            for decoder in DECODERS:
                rates[decoder].append(turn(decoder))
    return {decoder: round(statistics.median(found), 1) for decoder, found in rates.items()}


def mean_difference(path: Path) -> float:
    """Returns the mean absolute difference between the frames of both decoders, on a scale of 0..255."""
    with contextlib.closing(DecoderProcess()) as process:
        of_processor, of_gpu = (read(process, path, decoder).astype(np.int16) for decoder in DECODERS)
    return round(float(np.abs(of_processor - of_gpu).mean()), 2)


def main(argv: Sequence[str] | None = None) -> None:
    """Draws the videos, measures both decoders, and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--streams", type=int, nargs="+", default=[1, 4, 16], help="numbers of videos to decode at once. Default: 1 4 16"
    )
    parser.add_argument("--seconds", type=int, default=10, help="length of each video in seconds. Default: 10")
    parser.add_argument("--repeats", type=int, default=3, help="number of turns, of which to take the median. Default: 3")
    args = parser.parse_args(argv)
    if not has_nvidia_gpu():
        parser.error("this machine must have an NVIDIA GPU and its driver. Received: none")
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        for size, codec in VIDEOS:
            path = Path(folder) / f"{size}-{codec}.mp4"
            encode(path, SIZES[size], args.seconds * FPS, codec)
            difference = mean_difference(path)
            for streams in args.streams:
                rates = frames_per_sec(path, streams, args.repeats)
                ratio = round(rates["nvdec"] / rates["cpu"], 3)
                print(
                    f"{size} {codec}, {streams} at once: {rates['nvdec']:,.0f} frames/s by the GPU, {rates['cpu']:,.0f} by the "
                    f"processor: {ratio:.2f}×; mean difference {difference}",
                    flush=True,
                )
                rows.append({"video": f"{size} {codec}", "streams": streams, **rates, "ratio": ratio, "difference": difference})
    print_result("gpu_decoding", rows=rows)


if __name__ == "__main__":
    main()
