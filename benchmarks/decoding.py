"""Measures how fast videos are decoded, and how much `repcount run` adds to decoding and scoring.

    python -m benchmarks.decoding [--repeats 3] [--seconds 20] [--clips 20]

Draws a moving scene in several sizes and codecs, and decodes it in five ways, each with one thread:

- `decode_only`: OpenCV decodes every frame exactly and converts none.
- `in_process`: `read_video` in this process.
- `child_process`: `DecoderProcess.read`, as the pipeline does.
- `exact`: the same with `--exact_decoding`.
- `notebook`: the loop of RepNet's notebook, which converts every frame and keeps all of them in memory.

At 60 frames a second, the second to the fourth return every other frame. Then counts clips with `repcount run`, and with a bare
loop that decodes and scores them with the same model, one by one.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import functools
import io
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import cast

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from benchmarks import warm_model
from benchmarks.report import print_result
from model.logits import chunk_frames
from model.presets import PRESETS
from pipeline import main as command_line
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.decoding.reader import read_video
from transforms.inference import RepNetModelHandler

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080)}

CODECS = {
    "H.264": ("libx264", {"preset": "veryfast"}),
    "HEVC": ("libx265", {"preset": "superfast", "x265-params": "log-level=error"}),
    "VP9": ("libvpx-vp9", {"deadline": "realtime", "cpu-used": "8"}),
}

FPS = 30

VIDEOS = (
    ("360p", "H.264", FPS),
    ("720p", "H.264", FPS),
    ("1080p", "H.264", FPS),
    ("1080p", "H.264", 2 * FPS),
    ("1080p", "HEVC", FPS),
    ("1080p", "VP9", FPS),
)
"""Size, codec and frames a second of each video."""

OPTIONS = DecodingOptions(decoder_threads=1)


def draw_frames(size: tuple[int, int], num_frames: int) -> Iterator[np.ndarray]:
    """Yields BGR frames of a disc that moves up and down in front of a textured, slowly drifting background."""
    width, height = size
    texture = np.random.default_rng(0).integers(0, 255, (height // 8, width // 4, 3), np.uint8)
    wide = cv2.resize(texture, (2 * width, height), interpolation=cv2.INTER_CUBIC)
    for index in range(num_frames):
        frame = wide[:, index % width : index % width + width].copy()
        middle = round(height * (0.5 + 0.3 * np.sin(2 * np.pi * index / 40)))
        cv2.circle(frame, (width // 2, middle), height // 6, (40, 180, 230), -1)
        yield frame


def encode(path: Path, size: tuple[int, int], num_frames: int, codec: str = "H.264", fps: int = FPS) -> None:
    """Encodes a video."""
    name, options = CODECS[codec]
    with av.open(str(path), "w") as container:
        stream = cast(VideoStream, container.add_stream(name, rate=fps, options=options))
        stream.width, stream.height, stream.pix_fmt = *size, "yuv420p"
        for image in draw_frames(size, num_frames):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, format="bgr24")))
        container.mux(stream.encode(None))


def decode_only(path: Path) -> int:
    """Decodes every frame and converts none; returns the number of frames."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, OPTIONS.decoder_threads])
    num_frames = 0
    while capture.grab():
        num_frames += 1
    capture.release()
    return num_frames


def notebook_loop(path: Path) -> int:
    """Reads a video as RepNet's notebook does: all frames as RGB in one list, then resized; returns the number of frames."""
    capture = cv2.VideoCapture(str(path), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, OPTIONS.decoder_threads])
    frames = []
    while True:
        read, image = capture.read()
        if not read:
            break
        frames.append(cv2.cvtColor(image, cv2.COLOR_BGR2RGB))
    capture.release()
    return len([cv2.resize(cv2.resize(frame, (224, 224)), (112, 112)) for frame in frames])


def read_in_process(path: Path) -> int:
    """Reads a video in this process; returns the number of frames."""
    with path.open("rb") as file:
        return sum(len(samples.frames) for samples in read_video(file, OPTIONS))


def read_in_child(decoder: DecoderProcess, path: Path, options: DecodingOptions = OPTIONS) -> int:
    """Reads a video in a decoder process; returns the number of frames."""
    with path.open("rb") as file:
        return sum(len(samples.frames) for samples in decoder.read(file, options))


def msec_per_frame(methods: dict[str, Callable[[], int]], repeats: int, num_frames: int) -> dict[str, float]:
    """Returns the median milliseconds per frame of the video of each method.

    Methods take turns, so that all meet the same noise.
    """
    spent: dict[str, list[float]] = {name: [] for name in methods}
    for _ in range(repeats):
        for name, method in methods.items():
            started = time.perf_counter()
            found = method()
            spent[name].append(1000 * (time.perf_counter() - started) / num_frames)
            if found not in (num_frames, num_frames // 2):
                raise SystemExit(f"{name} must return all or half of {num_frames} frames. Received: {found}")
    return {name: statistics.median(times) for name, times in spent.items()}


def measure_decoding(folder: Path, repeats: int, seconds: int, videos: Sequence[tuple[str, str, int]]) -> dict[str, object]:
    """Measures each video; prints the figures and returns milliseconds per frame."""
    results: dict[str, object] = {}
    decoder = DecoderProcess()
    with contextlib.closing(decoder):
        for size, codec, fps in videos:
            name = f"{size} {codec} {fps} fps"
            path = folder / f"{size}-{codec}-{fps}.mp4"
            num_frames = seconds * fps
            encode(path, SIZES[size], num_frames, codec, fps)
            read_in_child(decoder, path)  # starts the process
            exact = dataclasses.replace(OPTIONS, exact=True)
            methods: dict[str, Callable[[], int]] = {
                "decode_only": functools.partial(decode_only, path),
                "in_process": functools.partial(read_in_process, path),
                "child_process": functools.partial(read_in_child, decoder, path),
                "exact": functools.partial(read_in_child, decoder, path, exact),
                "notebook": functools.partial(notebook_loop, path),
            }
            times = msec_per_frame(methods, repeats, num_frames)
            ratios = {method: f"{msec / times['decode_only']:.2f}×" for method, msec in times.items()}
            print(
                f"{name}: {1000 / times['child_process']:,.0f} frames/s in a child process. Time against decoding only: child "
                f"process {ratios['child_process']}, exact {ratios['exact']}, this process {ratios['in_process']}, notebook "
                f"{ratios['notebook']}",
                flush=True,
            )
            results[name] = {method: round(msec, 3) for method, msec in times.items()}
    return results


def measure_pipeline(folder: Path, num_clips: int, repeats: int) -> dict[str, float]:
    """Compares `repcount run` on clips with a bare loop and the same model; prints and returns seconds and the speed ratio."""
    clips = folder / "clips"
    clips.mkdir()
    for number in range(num_clips):
        encode(clips / f"{number:02d}.mp4", SIZES["720p"], 10 * FPS + number)
    options = dataclasses.replace(OPTIONS, chunk_frames=chunk_frames(PRESETS["lite"].strides))

    def bare_loop() -> int:
        for path in sorted(clips.iterdir()):
            with path.open("rb") as file:
                for samples in read_video(file, options):
                    warm_model.lite().score(samples.frames, is_last=samples.facts is not None)
        return 0

    def whole_run() -> int:
        with tempfile.TemporaryDirectory() as output, contextlib.redirect_stdout(io.StringIO()):
            words = ["run", "--input", str(clips), "--output", f"duckdb:{output}/c.duckdb", "--precision", "float32"]
            return command_line.main(words, make_handler=lambda config: RepNetModelHandler(warm_model.lite))

    bare_loop()
    spent: dict[str, list[float]] = {"bare": [], "run": []}
    for _ in range(repeats):
        for name, work in (("bare", bare_loop), ("run", whole_run)):
            started = time.perf_counter()
            if work():
                raise SystemExit("repcount run failed")
            spent[name].append(time.perf_counter() - started)
    bare_sec, run_sec = statistics.median(spent["bare"]), statistics.median(spent["run"])
    print(f"{num_clips} clips: bare loop {bare_sec:.1f} s, repcount run {run_sec:.1f} s: {bare_sec / run_sec:.0%} of its speed")
    return {"bare_sec": round(bare_sec, 2), "run_sec": round(run_sec, 2), "speed_ratio": round(bare_sec / run_sec, 3)}


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--repeats", type=int, default=3, help="number of measurements, of which to take the median. Default: 3"
    )
    parser.add_argument("--seconds", type=int, default=20, help="length of the video at each size, in seconds. Default: 20")
    parser.add_argument("--clips", type=int, default=20, help="number of clips to count with `repcount run`. Default: 20")
    args = parser.parse_args(argv)
    with tempfile.TemporaryDirectory() as name:
        decoding = measure_decoding(Path(name), args.repeats, args.seconds, VIDEOS)
        pipeline = measure_pipeline(Path(name), args.clips, args.repeats)
    print_result("decoding", msec_per_frame=decoding, pipeline=pipeline)


if __name__ == "__main__":
    main()
