"""Measures how long `repcount count --annotate` takes to write a video, against decoding and encoding it alone.

    python -m benchmarks.annotation [--repeats 3] [--seconds 4]

Draws and encodes moving scenes, with H.264. Then writes each in two ways, which take turns:

- `alone`: a loop that decodes each frame and encodes it with the same settings, in this process, and draws nothing.
- `annotated`: the second pass of `count --annotate`, in its own process, with a panel that changes in each frame.

The ratio is the speed of the second against the first; the project promises 0.7 or more.
"""

from __future__ import annotations

import argparse
import contextlib
import functools
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.video.frame import PictureType
from av.video.stream import VideoStream

from benchmarks.decoding import FPS, encode, msec_per_frame
from benchmarks.report import print_result
from transforms.annotation.process import AnnotatorProcess
from transforms.annotation.rewrite import ENCODERS, find_encoder
from transforms.annotation.timeline import Timeline
from transforms.decoding.options import DecodingOptions

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080)}

_PERIOD_SEC = 1.3


def write_alone(path: Path, output: Path) -> int:
    """Decodes and encodes every frame and draws nothing; returns the number of frames."""
    name, num_frames = find_encoder(), 0
    with av.open(str(path)) as source, av.open(str(output), "w", format="mp4") as target:
        read = source.streams.video[0]
        read.thread_type, read.thread_count = "AUTO", DecodingOptions.decoder_threads
        stream = cast(VideoStream, target.add_stream(name, rate=FPS, options=ENCODERS[name]))
        stream.width, stream.height, stream.pix_fmt = read.width, read.height, "yuv420p"
        for frame in source.decode(read):
            num_frames += 1
            frame.pict_type = PictureType.NONE  # the encoder decides, as it does for new frames
            target.mux(stream.encode(frame))
        target.mux(stream.encode(None))
    return num_frames


def write_annotated(annotator: AnnotatorProcess, timeline: Timeline, path: Path, output: Path) -> int:
    """Annotates a video; returns the number of its frames."""
    with path.open("rb") as file, output.open("wb") as target:
        annotator.annotate(file, timeline, DecodingOptions(), target)
    return len(timeline.times_sec)


def moving_timeline(num_frames: int) -> Timeline:
    """Returns a timeline of which each frame shows something else."""
    times_sec = np.arange(num_frames) / FPS
    end_sec = num_frames / FPS
    curve = (times_sec + 1 / FPS) / _PERIOD_SEC
    periodicity = 0.5 + 0.5 * np.sin(times_sec)
    repetitions_sec = np.arange(1, int(curve[-1]) + 1) * _PERIOD_SEC
    return Timeline(times_sec, curve, periodicity, repetitions_sec, np.array([[0.0, end_sec]]))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=3, help="number of measurements, of which to take the median. Default: 3"
    )
    parser.add_argument("--seconds", type=int, default=4, help="length of the video at each size, in seconds. Default: 4")
    args = parser.parse_args(argv)
    num_frames = args.seconds * FPS
    results: dict[str, dict[str, float]] = {}
    with tempfile.TemporaryDirectory() as name, contextlib.closing(AnnotatorProcess()) as annotator:
        timeline = moving_timeline(num_frames)
        for size_name, size in SIZES.items():
            path, output = Path(name) / f"{size_name}.mp4", Path(name) / "output.mp4"
            encode(path, size, num_frames)
            write_annotated(annotator, timeline, path, output)  # starts the process
            methods: dict[str, Callable[[], int]] = {
                "alone": functools.partial(write_alone, path, output),
                "annotated": functools.partial(write_annotated, annotator, timeline, path, output),
            }
            times = msec_per_frame(methods, args.repeats, num_frames)
            ratio = times["alone"] / times["annotated"]
            print(
                f"{size_name}: annotated {times['annotated']:.1f} ms a frame, decoding and encoding alone "
                f"{times['alone']:.1f} ms: {ratio:.2f} of its speed",
                flush=True,
            )
            results[size_name] = {**{method: round(msec, 3) for method, msec in times.items()}, "speed_ratio": round(ratio, 3)}
    print_result("annotation", msec_per_frame=results)


if __name__ == "__main__":
    main()
