"""Decodes a video once more, draws its count on every frame, and encodes it as MP4. Imports no Beam.

It streams: a frame is drawn on and handed to the encoder before the next one is read, so memory does not grow with length.
Pixels stay YCbCr, and only those below the panel are computed.
"""

from __future__ import annotations

import contextlib
import fractions
from typing import BinaryIO, cast

import av
from av.audio.stream import AudioStream
from av.packet import Packet
from av.video.stream import VideoStream

from transforms.annotation.panel import Panel
from transforms.annotation.sound import MAX_GAP_SEC, Sound
from transforms.annotation.timeline import Timeline
from transforms.annotation.upright import PIXELS, UprightFrames
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import Picture, Progress, read_pictures, translate_errors

ENCODERS = {"libx264": {"preset": "veryfast", "crf": "20"}, "libopenh264": {}, "mpeg4": {}}
"""FFmpeg's encoders with their options, best first; the first one that this FFmpeg has is used."""

_BITS_PER_PIXEL = 0.15
"""Bits for each pixel of each frame, for encoders that are not told a quality."""

_TICKS_PER_SEC = 60_000
"""Resolution of frame times: usual frame rates are whole numbers of ticks, and MPEG-4 can count no finer than 65,535."""

_WRITE_BYTES = 1 << 18

_DEFAULT_FPS, _MAX_FPS = 30, 1000


def annotate(
    file: BinaryIO,
    sound_file: BinaryIO,
    timeline: Timeline,
    options: DecodingOptions,
    output: BinaryIO,
    progress: Progress = lambda presented_sec: None,
) -> str:
    """Writes a video with its count drawn on it, as MP4: H.264, upright, with the times of its frames.

    Sound is copied as it is, where MP4 can hold it, until the container's clock starts over.

    Args:
      file: The video; a regular file, open for reading.
      sound_file: The same file with a position of its own.
      timeline: What to show.
      options: How to decode the video.
      output: Where to write; must be able to seek.
      progress: Called as decoding goes on; see `Progress`.

    Returns:
      FFmpeg's name of the codec of a sound that was left out, because MP4 cannot hold it, else "".

    Raises:
      DecodeError: As for `read_pictures`; READ_ERROR if FFmpeg cannot encode the video.
      OSError: The file cannot be read, or the output not written.
      MemoryError: FFmpeg cannot allocate memory.
    """
    with translate_errors(), contextlib.ExitStack() as opened:
        sound = Sound(sound_file, opened)
        writer: _Writer | None = None
        for picture in read_pictures(file, options, progress):
            if writer is None:
                writer = _Writer(picture, sound, timeline, output, opened)
            writer.write(picture)
        if writer is not None:  # without a frame, reading raises an error
            writer.finish()
        return sound.left_out


def find_encoder() -> str:
    """Returns the name of the first of `ENCODERS` that this FFmpeg has."""
    for name in ENCODERS:
        with contextlib.suppress(ValueError):
            av.Codec(name, "w")
            return name
    raise ValueError(f"this FFmpeg must have one of the encoders {', '.join(ENCODERS)}")


class _Writer:
    """Draws on the frames of one video, and writes them with its sound."""

    def __init__(
        self, first: Picture, sound: Sound, timeline: Timeline, output: BinaryIO, opened: contextlib.ExitStack
    ) -> None:
        self._timeline = timeline
        self._frames = UprightFrames(first.frame, first.orientation)
        self._panel = Panel(self._frames.size, self._frames.colours)
        self._container = opened.enter_context(av.open(output, "w", format="mp4", buffer_size=_WRITE_BYTES))
        self._video = self._add_video(first)
        self._sound = sound
        self._has_sound = sound.stream is not None
        if sound.stream is not None:
            self._sound_out: AudioStream = self._container.add_stream_from_template(sound.stream)
        self._lead_sec = _lead_sec(first.start_sec, sound.start_sec)
        self._start_sec = first.start_sec
        self._last_ticks = -1

    def _add_video(self, first: Picture) -> VideoStream:
        name = find_encoder()
        fps = fractions.Fraction(first.guessed_fps).limit_denominator(1001)
        if not 0 < fps <= _MAX_FPS:
            fps = fractions.Fraction(_DEFAULT_FPS)
        stream = cast(VideoStream, self._container.add_stream(name, rate=fps, options=ENCODERS[name]))
        stream.width, stream.height = self._frames.size
        stream.pix_fmt = PIXELS
        encoder = stream.codec_context
        encoder.time_base = fractions.Fraction(1, _TICKS_PER_SEC)
        if not ENCODERS[name]:
            encoder.bit_rate = round(_BITS_PER_PIXEL * stream.width * stream.height * fps)
        if first.aspect > 0:
            on_its_side = first.orientation.is_sideways
            aspect = 1 / first.aspect if on_its_side else first.aspect
            encoder.sample_aspect_ratio = fractions.Fraction(aspect).limit_denominator(1000)
        self._frames.tag(encoder)
        return stream

    def write(self, picture: Picture) -> None:
        """Writes a frame, and the sound before it."""
        if picture.clock_restarted:
            self._has_sound = False  # from here on, nothing says which sound belongs to which frame
        self._copy_sound(picture.start_sec + picture.time_sec)
        frame, planes = self._frames.copy(picture.frame)
        self._panel.draw(planes, self._timeline.at(picture.time_sec))
        ticks = round((picture.time_sec + self._lead_sec) * _TICKS_PER_SEC)
        frame.pts = self._last_ticks = max(ticks, self._last_ticks + 1)
        frame.time_base = fractions.Fraction(1, _TICKS_PER_SEC)
        self._container.mux(self._video.encode(frame))

    def finish(self) -> None:
        """Writes what the encoder still holds, and the rest of the sound."""
        self._copy_sound(float("inf"))
        self._container.mux(self._video.encode(None))
        self._container.close()

    def _copy_sound(self, container_sec: float) -> None:
        if not self._has_sound:
            return
        for packet in self._sound.until(container_sec):
            self._shift(packet)
            packet.stream = self._sound_out
            self._container.mux(packet)

    def _shift(self, packet: Packet[AudioStream]) -> None:
        """Moves a packet from the time of its container to that of the output."""
        ticks = round((self._lead_sec - self._start_sec) / float(packet.time_base))
        packet.pts = None if packet.pts is None else packet.pts + ticks
        packet.dts = None if packet.dts is None else packet.dts + ticks


def _lead_sec(video_start_sec: float, sound_start_sec: float | None) -> float:
    """Returns the seconds for which sound is heard before the first frame."""
    lead_sec = 0.0 if sound_start_sec is None else video_start_sec - sound_start_sec
    return lead_sec if 0 < lead_sec <= MAX_GAP_SEC else 0.0
