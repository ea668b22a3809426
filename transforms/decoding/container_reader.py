"""Opens a video file with FFmpeg, chooses the streams to read, and reads their packets. Imports no Beam.

FFmpeg gets an open file, never a name, because it may read a name as a protocol or as a numbered sequence of pictures. It reads
only formats that contain their own pictures and may open nothing else, so a playlist disguised as a video leads nowhere.
"""

from __future__ import annotations

import contextlib
import datetime
import importlib
import pkgutil
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import BinaryIO, TypeVar, cast

import av
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.stream import Disposition, Stream
from av.video.stream import VideoStream

from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode

FORMATS = (
    "asf",
    "avi",
    "flv",
    "gif",
    "h264",
    "hevc",
    "ivf",
    "m4v",
    "matroska",
    "mov",
    "mpeg",
    "mpegts",
    "mpegvideo",
    "mxf",
    "ogg",
)
"""FFmpeg's names of the formats to read; none of them refers to another file or to a URI."""

MAX_FAILED_READS = 1000
"""Consecutive failures to read a packet after which the rest of a video is skipped."""

_DURATION_TAG = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d+)?)", re.ASCII)
"""Time at which a stream ends, as Matroska files store it, for example 00:00:05.000000000."""

_CREATION_TAG = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)[T ](\d\d):(\d\d):(\d\d)(?:\.(\d{1,9}))? ?(?:Z|([+-])(\d\d):?(\d\d))?", re.ASCII
)
"""Time of recording as FFmpeg writes it, for example 2026-01-31T12:00:00.000000Z; UTC if it has no zone."""

_StreamT = TypeVar("_StreamT", bound=Stream)

_HEAD_BYTES = 12
"""Bytes that identify a sound format."""

_READ_BYTES = 1 << 20
"""Bytes that FFmpeg requests from a file at a time."""

_SOUND_ONLY = "the file has sound, and no video in it"


def load_ffmpeg() -> None:
    """Imports all of PyAV, which imports parts of itself only when a file needs them. A sandbox would refuse that."""
    for module in pkgutil.walk_packages(av.__path__, "av."):
        if module.name.rpartition(".")[2] != "__main__":
            importlib.import_module(module.name)


def open_container(file: BinaryIO, opened: contextlib.ExitStack) -> InputContainer:
    """Opens a file until `opened` is closed; raises DecodeError NO_VIDEO_STREAM for FLAC, MP3 and WAV, else NOT_A_VIDEO."""
    file.seek(0)
    options = {
        "format_whitelist": ",".join(FORMATS),
        "protocol_whitelist": "none",
        "scan_all_pmts": "1",  # finds the streams of MPEG-TS that begin half-way
    }
    try:
        return opened.enter_context(
            av.open(file, "r", container_options=options, buffer_size=_READ_BYTES, metadata_errors="replace")
        )
    except MemoryError:
        raise
    except FFmpegError as error:
        file.seek(0)
        if _is_sound(file.read(_HEAD_BYTES)):
            raise DecodeError(FailureCode.NO_VIDEO_STREAM, _SOUND_ONLY) from error
        raise DecodeError(FailureCode.NOT_A_VIDEO, "the file is in no video format that is read here") from error


def _is_sound(head: bytes) -> bool:
    """Returns whether a file starts as FLAC, MP3 (with ID3) or WAV; FFmpeg's readers of these also accept text and noise."""
    return head[:4] == b"fLaC" or head[:3] == b"ID3" or (head[:4] == b"RIFF" and head[8:12] == b"WAVE")


def choose_streams(container: InputContainer, progress: Callable[[], None]) -> list[list[int]]:
    """Returns the numbers of the streams that can be decoded, best first; streams that follow one another are one entry.

    Reads a container with several streams to its end, if its format is MPEG-TS.

    Args:
      container: Container at its start.
      progress: Called as reading goes on.

    Raises:
      DecodeError: NO_VIDEO_STREAM or NO_FRAMES if there is none.
    """
    numbers = [stream.index for stream in decodable_streams(container)]
    if container.format.name == "mpegts" and len(numbers) > 1:
        return _join_consecutive(container, numbers, progress)
    return [[number] for number in numbers]


def decodable_streams(container: InputContainer) -> list[VideoStream]:
    """Returns the streams that can be decoded, best first; raises DecodeError NO_VIDEO_STREAM or NO_FRAMES if there is none."""
    pictures = Disposition.attached_pic | Disposition.timed_thumbnails
    streams = [stream for stream in container.streams.video if not stream.disposition & pictures]
    if not streams:
        raise DecodeError(
            FailureCode.NO_VIDEO_STREAM, _SOUND_ONLY if container.streams.audio else "the file has no video in it"
        )
    decodable = [stream for stream in streams if stream.codec_context is not None]
    if not decodable:
        raise DecodeError(FailureCode.NO_FRAMES, "the file has a video in it, but no decoder is known for it")
    return sorted(decodable, key=_preference)


def _preference(stream: VideoStream) -> tuple[bool, bool, float, int]:
    """Returns the sort key of a stream; the one that players show has the lowest.

    Stills come last, whatever the file marks as the default. Files without a default are read by length, and streams of the
    same rank in the file's order.
    """
    is_still = stream.frames == 1 or bool(stream.disposition & Disposition.still_image)
    is_default = bool(stream.disposition & Disposition.default)
    return is_still, not is_default, 0.0 if is_default else -_declared_frames(stream), stream.index


def _declared_frames(stream: VideoStream) -> float:
    """Returns the number of frames that a file declares for a stream, estimated from its duration if need be; 0 if unknown."""
    return stream.frames or declared_sec(stream) * float(stream.guessed_rate or 0)


def declared_sec(stream: VideoStream) -> float:
    """Returns the duration in seconds that a file declares for a stream; 0 if it declares none."""
    return float((stream.duration or 0) * (stream.time_base or 0)) or tagged_end_sec(stream) or 0.0


def tagged_end_sec(stream: VideoStream) -> float | None:
    """Returns the time in seconds at which a stream of a Matroska file ends; None if the file does not say."""
    tag = _DURATION_TAG.fullmatch(stream.metadata.get("DURATION", ""))
    return int(tag[1]) * 3600 + int(tag[2]) * 60 + float(tag[3]) if tag else None


def captured_sec(container: InputContainer, stream: VideoStream) -> float:
    """Returns the time of recording that a file declares, in seconds since 1970; 0 if it declares none that can be read."""
    for metadata in (container.metadata, stream.metadata):
        tag = _CREATION_TAG.fullmatch(metadata.get("creation_time", ""))
        if tag is None:
            continue
        *numbers, fraction, sign, hours, minutes = tag.groups()
        try:
            year, month, day, hour, minute, second = map(int, numbers)
            local = datetime.datetime(year, month, day, hour, minute, second, tzinfo=datetime.UTC)
        except ValueError:  # no such day or hour
            continue
        offset_sec = int(f"{sign}1") * (3600 * int(hours) + 60 * int(minutes)) if sign else 0
        seconds = local.timestamp() - offset_sec + float(f"0.{fraction or 0}")
        if seconds > 0:
            return seconds
    return 0.0


def _join_consecutive(container: InputContainer, numbers: Sequence[int], progress: Callable[[], None]) -> list[list[int]]:
    """Groups streams that follow one another in a file: a video whose stream changes its id half-way, as in joined files.

    Reads the container to its end.

    Args:
      container: Container at its start.
      numbers: Numbers of its streams, preferred ones first.
      progress: Called for every packet.

    Returns:
      Groups in the order of preference of their best streams. Streams within a group have the file's order.
    """
    spans: dict[int, tuple[int, int]] = {}
    for packet in read_packets(container, [stream for stream in container.streams.video if stream.index in numbers]):
        progress()
        if packet is not None and packet.pos is not None:
            first, last = spans.get(packet.stream_index, (packet.pos, packet.pos))
            spans[packet.stream_index] = min(first, packet.pos), max(last, packet.pos)
    groups: list[list[int]] = []
    for number in numbers:
        group = next((group for group in groups if _is_apart(number, group, spans)), None)
        if group is None:
            groups.append([number])
        else:
            group.append(number)
            group.sort(key=lambda member: spans[member])
    return groups


def _is_apart(number: int, others: Sequence[int], spans: Mapping[int, tuple[int, int]]) -> bool:
    """Returns whether all packets of a stream come before or after those of each other one; False if one has no packets."""
    if any(member not in spans for member in (number, *others)):
        return False
    first, last = spans[number]
    return all(last < spans[other][0] or spans[other][1] < first for other in others)


def open_streams(
    file: BinaryIO, opened: contextlib.ExitStack, container: InputContainer, numbers: Sequence[int]
) -> Iterator[tuple[InputContainer, VideoStream]]:
    """Yields streams by number, each with a container at its start: `container` for the first one, new ones for others."""
    for position, number in enumerate(numbers):
        if position:
            container = open_container(file, opened)
        yield container, next(stream for stream in container.streams.video if stream.index == number)


def read_packets(container: InputContainer, streams: Sequence[_StreamT]) -> Iterator[Packet[_StreamT] | None]:
    """Yields the packets of streams, and None for damage; the last packet of each stream is empty and flushes its decoder."""
    num_failed = 0
    while num_failed < MAX_FAILED_READS:
        try:
            for packet in cast("Iterator[Packet[_StreamT]]", container.demux(streams)):
                num_failed = 0
                yield packet
            return
        except MemoryError:
            raise
        except IndexError:  # after the last packet, PyAV trips over streams that it did not see when it opened the file
            return
        except FFmpegError:
            num_failed += 1
            yield None
