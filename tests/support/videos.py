"""Small real videos for tests: drawn and encoded, with fields of the container changed where a test needs it."""

from __future__ import annotations

import contextlib
import itertools
import os
import struct
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path

import av
import cv2
import numpy as np

CODECS = {
    ".avi": "MJPG",
    ".flv": "FLV1",
    ".mkv": "FFV1",
    ".mov": "mp4v",
    ".mp4": "mp4v",
    ".mpg": "MPEG",
    ".ts": "mpg1",
    ".webm": "VP80",
    ".wmv": "WMV2",
}
"""Codec for each suffix that OpenCV's wheels can encode."""

SOUNDS = {".flac": "flac", ".m4a": "aac", ".mka": "flac", ".mp3": "libmp3lame", ".ogg": "libopus", ".wav": "pcm_s16le"}
"""Codec by suffix of sound files."""

_MATRIX_OFFSET = 48


def draw_video(
    path: Path,
    num_frames: int = 60,
    *,
    fps: float = 30.0,
    size: tuple[int, int] = (64, 48),
    codec: str | None = None,
    draw: Callable[[int], np.ndarray] | None = None,
) -> Path:
    """Encodes a video.

    Args:
      path: File to write; its suffix decides the container.
      num_frames: Number of frames.
      fps: Frames per second.
      size: Width and height in pixels, both even.
      codec: Four characters. Default: that of `CODECS`.
      draw: Returns a frame by number, as (height, width, 3) uint8 RGB or (height, width) grey. Default: `moving_square`.

    Returns:
      `path`.
    """
    draw = draw or (lambda index: moving_square(index, size=size))
    frames = (draw(index) for index in range(num_frames))
    first = draw(0)
    fourcc = cv2.VideoWriter.fourcc(*(codec or CODECS[path.suffix]))
    writer = cv2.VideoWriter(str(path), cv2.CAP_FFMPEG, fourcc, fps, size, isColor=first.ndim == 3)
    assert writer.isOpened(), f"cannot encode {path.suffix} with {codec}"
    for frame in frames:
        writer.write(frame if frame.ndim == 2 else cv2.cvtColor(frame, cv2.COLOR_RGB2BGR))
    writer.release()
    return path


@contextlib.contextmanager
def _same_scheduling() -> Iterator[None]:
    """Restores this thread's scheduling: libsvtav1 gives root's the highest real-time priority, and others starve."""
    if not hasattr(os, "sched_getscheduler"):
        yield
        return
    before = os.sched_getscheduler(0), os.sched_getparam(0)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


@_same_scheduling()
def encode_streams(
    path: Path,
    numbers: Sequence[Iterable[int]],
    codec: str = "ffv1",
    pixels: str = "yuv420p",
    title: str = "",
    creation_time: str = "",
    first_sec: float = 0.0,
    sound_sec: float = 0.0,
    default: int | None = None,
    jumps_sec: Mapping[int, float] | None = None,
    size: tuple[int, int] = (64, 48),
    container_format: str | None = None,
    options: dict[str, str] | None = None,
) -> Path:
    """Encodes one stream per list of frame numbers, drawn by `numbered`; an empty list makes a stream without frames.

    Args:
      path: File to write; its suffix decides the container.
      numbers: Lists of frame numbers.
      codec: FFmpeg's name of the codec.
      pixels: FFmpeg's name of the pixel format.
      title: Title in the file's metadata.
      creation_time: Time of recording in the file's metadata; "" for none.
      first_sec: Time of the first frames in seconds.
      sound_sec: Seconds of silent sound in the file; 0 for none.
      default: Position in `numbers` of the one stream to mark as the default. None leaves it to the container.
      jumps_sec: Seconds by which the clock jumps before a frame, by the frame's position in its stream.
      size: Width and height in pixels, both even.
      container_format: FFmpeg's name of the container. Default: that of the suffix.
      options: FFmpeg's options of the container.
    """
    with av.open(str(path), "w", format=container_format, options=options) as container:
        container.metadata["title"] = title
        if creation_time:
            container.metadata["creation_time"] = creation_time
        streams = [container.add_stream(codec, rate=30) for _ in numbers]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = *size, pixels
        if default is not None:
            streams[default].disposition = av.stream.Disposition.default
        if sound_sec:
            _encode_silence(container, {".flv": "aac", ".ts": "mp2", ".wmv": "mp2"}.get(path.suffix, "flac"), sound_sec)
        container.start_encoding()
        for stream, indices in zip(streams, numbers, strict=True):
            start_sec = first_sec
            for time, index in enumerate(indices):
                start_sec += (jumps_sec or {}).get(time, 0.0)
                frame = av.VideoFrame.from_ndarray(numbered(index, size=size), format="rgb24").reformat(format=pixels)
                frame.pts = time + round(30 * start_sec)
                container.mux(stream.encode(frame))
            if stream.codec_context.is_open:
                container.mux(stream.encode(None))
    return path


def record_silence(path: Path) -> Path:
    """Encodes one second of silence; the suffix decides the container."""
    container_format = {".m4a": "mp4", ".mka": "matroska"}.get(path.suffix)
    with av.open(str(path), "w", format=container_format) as container:
        _encode_silence(container, SOUNDS[path.suffix], 1.0)
    return path


def _encode_silence(container: av.container.OutputContainer, codec: str, sound_sec: float) -> None:
    stream = container.add_stream(codec, rate=48_000, layout="stereo")
    num_samples = stream.codec_context.frame_size or 1024
    for number in range(int(48_000 * sound_sec) // num_samples):
        frame = av.AudioFrame(format=stream.format.name, layout="stereo", samples=num_samples)
        for plane in frame.planes:
            plane.update(bytes(plane.buffer_size))
        frame.sample_rate, frame.pts = 48_000, number * num_samples
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))


def moving_square(index: int, *, period_frames: int = 20, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Draws frame `index` of a square that moves up and down once in `period_frames`: (height, width, 3) uint8 RGB."""
    width, height = size
    side = height // 4
    top = round((height - side) * (0.5 - 0.5 * np.cos(2 * np.pi * index / period_frames)))
    frame = np.full((height, width, 3), 40, np.uint8)
    frame[top : top + side, (width - side) // 2 : (width + side) // 2] = (230, 200, 60)
    return frame


def numbered(index: int, *, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Draws frame `index` as ten bars that `number_of` reads back, even after lossy coding; 0 ≤ index < 1024."""
    width, height = size
    frame = np.zeros((height, width, 3), np.uint8)
    for bit in range(10):
        left, right = bit * width // 10, (bit + 1) * width // 10
        frame[:, left:right] = 230 if index >> bit & 1 else 25
    return frame


def number_of(frame: np.ndarray) -> int:
    """Reads the number that `numbered` drew from a frame of any size."""
    width = frame.shape[1]
    centres = [(2 * bit + 1) * width // 20 for bit in range(10)]
    return sum(1 << bit for bit, centre in enumerate(centres) if frame[:, centre].mean() > 127)


def corner_marked(index: int, *, size: tuple[int, int] = (64, 48)) -> np.ndarray:
    """Draws a dark frame whose top left quarter is red."""
    width, height = size
    frame = np.full((height, width, 3), 20, np.uint8)
    frame[: height // 2, : width // 2] = (220, 30, 30)
    return frame


def set_rotation(path: Path, degrees: int) -> Path:
    """Makes an MP4 or MOV ask its player for a clockwise rotation by 90, 180 or 270 degrees."""
    cosine, sine = {0: (1, 0), 90: (0, 1), 180: (-1, 0), 270: (0, -1)}[degrees]
    return set_display_matrix(path, cosine, sine, -sine, cosine)


def set_display_matrix(path: Path, a: float, b: float, c: float, d: float) -> Path:
    """Makes an MP4 or MOV ask its player to show (x, y) at (a·x + c·y, b·x + d·y)."""
    data = bytearray(path.read_bytes())
    start, _ = _find(data, b"moov", b"trak", b"tkhd")
    a, b, c, d = (round(value * (1 << 16)) for value in (a, b, c, d))
    struct.pack_into(">9i", data, start + _MATRIX_OFFSET, a, b, 0, c, d, 0, 0, 0, 1 << 30)
    path.write_bytes(data)
    return path


def set_steps(path: Path, steps_sec: Sequence[float]) -> Path:
    """Sets the duration of every frame of an MP4 or MOV, so that the frame rate varies."""
    data = bytearray(path.read_bytes())
    mdhd, _ = _find(data, b"moov", b"trak", b"mdia", b"mdhd")
    (timescale,) = struct.unpack_from(">I", data, mdhd + 20)
    ticks = [round(step * timescale) for step in steps_sec]
    runs = [(len(list(run)), tick) for tick, run in itertools.groupby(ticks)]
    entries = b"".join(struct.pack(">II", count, tick) for count, tick in runs)
    box = struct.pack(">I4sII", 16 + len(entries), b"stts", 0, len(runs)) + entries
    struct.pack_into(">I", data, mdhd + 24, sum(ticks))
    _drop_edit_list(data)
    _replace(data, (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"), box)
    path.write_bytes(data)
    return path


def set_edit_sec(path: Path, shown_sec: float) -> Path:
    """Changes the edit list of an MP4 or MOV to show only its first `shown_sec` seconds."""
    data = bytearray(path.read_bytes())
    mvhd, _ = _find(data, b"moov", b"mvhd")
    (timescale,) = struct.unpack_from(">I", data, mvhd + 20)
    elst, _ = _find(data, b"moov", b"trak", b"edts", b"elst")
    struct.pack_into(">I", data, elst + 16, round(shown_sec * timescale))
    path.write_bytes(data)
    return path


def make_streamable(path: Path) -> Path:
    """Moves the index of an MP4 or MOV before its frames, as for the web, so that the start of the file plays alone."""
    data = bytearray(path.read_bytes())
    start, size = _find(data, b"moov")
    mdat, _ = _find(data, b"mdat")
    offsets, _ = _find(data, b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stco")
    (count,) = struct.unpack_from(">I", data, offsets + 12)
    for position in range(offsets + 16, offsets + 16 + 4 * count, 4):
        struct.pack_into(">I", data, position, struct.unpack_from(">I", data, position)[0] + size)
    moov = data[start : start + size]
    path.write_bytes(data[:mdat] + moov + data[mdat:start] + data[start + size :])
    return path


def _drop_edit_list(data: bytearray) -> None:
    start, _ = _find(data, b"moov", b"trak", b"edts")
    data[start + 4 : start + 8] = b"free"


def _replace(data: bytearray, names: Sequence[bytes], box: bytes) -> None:
    """Replaces the box at a path of names; `moov` must be last in the file, or offsets into the media would shift."""
    start, size = _find(data, *names)
    for depth in range(1, len(names)):
        parent, parent_size = _find(data, *names[:depth])
        struct.pack_into(">I", data, parent, parent_size + len(box) - size)
    data[start : start + size] = box


def _find(data: bytes | bytearray, *names: bytes) -> tuple[int, int]:
    """Returns the offset and size of the first box at a path of names."""
    start, end = 0, len(data)
    for name in names:
        start, size = next((offset, size) for offset, size, kind in _boxes(data, start, end) if kind == name)
        end = start + size
        found = start, size
        start += 8
    return found


def _boxes(data: bytes | bytearray, start: int, end: int) -> Iterable[tuple[int, int, bytes]]:
    while start + 8 <= end:
        size, kind = struct.unpack_from(">I4s", data, start)
        yield start, size, bytes(kind)
        start += size


def draw_deadly(path):
    """Draws a grey video, which `scorers.DeadlyScorer` does not survive; returns its path."""
    return draw_video(path, 70, draw=lambda index: np.full((48, 64, 3), 128, np.uint8))
