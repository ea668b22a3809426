"""Decodes one stream of a video with FFmpeg, and leaves out work that no kept frame needs. Imports no Beam."""

from __future__ import annotations

import collections
from collections.abc import Callable, Iterator

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from transforms.decoding.container_reader import read_packets
from transforms.decoding.frame_skipping import ExpectedFrames, UnsafeSkippingError, mark_unwanted, shown_ticks, to_seconds
from transforms.decoding.nvdec import Gpu, NvdecRefusedError, NvdecStream
from transforms.decoding.options import DecodingOptions
from transforms.decoding.pixels import Orientation, orientation_of
from transforms.decoding.temporal_layers import TemporalLayers
from transforms.decoding.video_facts import NvdecUse


class ThreadsLostFramesError(Exception):
    """A stream may be damaged, and several threads decode it. FFmpeg then loses whole frames that a single thread decodes."""


class StreamReader:
    """Decodes one stream, from its start to its end.

    Unless `options.exact`, it saves work. Frames that sampling will leave out are skipped if no other frame refers to them.
    Others of that kind are decoded without H.264's and HEVC's deblocking filter. Frames that others refer to are always decoded
    exactly: an error in one would spread to all that follow, up to the next keyframe. NVDEC decodes all frames exactly.

    Packets may not tell what is needed for that: some containers give them other times than their frames have, and a clock may
    start over. Then skipping is unsafe, and the caller must decode the stream again, exactly.

    Attributes:
      may_skip: Whether frames may be skipped.
      is_damaged: Whether a packet was missing or did not decode, or FFmpeg guessed parts of a frame.
      last_frame_sec: Seconds for which the container shows the last frame so far; 0 if it does not say.
    """

    def __init__(
        self, container: InputContainer, stream: VideoStream, options: DecodingOptions, gpu: Gpu | None = None
    ) -> None:
        """Prepares decoding, on a GPU if there is one; raises NvdecRefusedError if that does not decode such streams."""
        stream.thread_type = "AUTO"
        stream.thread_count = options.decoder_threads if gpu is None else 1
        self._container = container
        self._stream = stream
        self._options = options
        self._time_base = stream.time_base  # asking for it anew, for each frame, takes longer
        self._is_avi = container.format.name == "avi"
        self._layers = TemporalLayers(stream.codec_context.extradata) if stream.codec.canonical_name == "hevc" else None
        if not options.exact and (self._layers is None or self._layers.number == 1):
            stream.codec_context.options = {"skip_loop_filter": "noref"}
        self.may_skip = (
            not (options.exact or self._is_avi or gpu)
            and (options.start_sec, options.start_frame) == (0, 0)  # sampling begins with the part to read
            and stream.codec.canonical_name != "vp8"  # some of its packets have no frame to show
            and (self._layers is None or self._layers.number > 0)
            and float(stream.guessed_rate or 0) > options.max_fps
        )
        self._nvdec: NvdecStream | None = None
        if gpu is not None:
            if self._is_avi:
                raise NvdecRefusedError(NvdecUse.CONTAINER)
            self._nvdec = NvdecStream(stream, gpu)
        self._skips = False
        self._last: VideoFrame | None = None
        self.is_damaged = False

    @property
    def last_frame_sec(self) -> float:
        """See the class."""
        last = self._last
        return float(last.duration * last.time_base) if last and last.duration and last.time_base else 0.0

    def size(self, frame: VideoFrame) -> tuple[int, int]:
        """Returns the width and height in pixels of a frame, before NVDEC has resized it."""
        return self._nvdec.size if self._nvdec else (frame.width, frame.height)

    def orientation(self, frame: VideoFrame) -> Orientation:
        """Returns how to turn a frame upright."""
        return self._nvdec.orientation if self._nvdec else orientation_of(frame)

    def frames(self, progress: Callable[[], None]) -> Iterator[tuple[float | None, VideoFrame | None]]:
        """Yields the time in the container of each frame in the order of display, None if it is unknown, and the frame.

        The frame is None where it was skipped; the first one never is. Reading continues after damage. An empty packet that has
        a time repeats the frame before it, as Theora does. FFmpeg would take it for the video's end.

        Args:
          progress: Called for every packet.

        Raises:
          NvdecRefusedError: NVDEC does not decode the stream, or no longer.
          ThreadsLostFramesError: The stream may be damaged, and more than one thread decodes it.
          UnsafeSkippingError: Frames may be skipped, but which ones cannot be told, or the stream is damaged.
        """
        repeats_sec: collections.deque[float] = collections.deque()
        expected = ExpectedFrames() if self.may_skip else None
        for packet, is_unwanted in self._packets():
            progress()
            packet_sec = None if packet is None else self._time_sec(packet)
            if packet is not None and not packet.size and packet_sec is not None:
                repeats_sec.append(packet_sec)
                continue
            if expected is not None and (ticks := shown_ticks(packet)) is not None:
                expected.add(ticks, is_unwanted)
            shown = self._last
            for frame in self._decode(packet, is_unwanted):
                time_sec = self._time_sec(frame)
                while shown is not None and repeats_sec and (time_sec is None or repeats_sec[0] < time_sec):
                    yield repeats_sec.popleft(), shown
                if expected is not None:
                    yield from ((self._seconds(ticks), None) for ticks in expected.show(frame.pts))
                yield time_sec, frame
                self._last = shown = frame
        if self._last is not None:
            yield from ((repeat_sec, self._last) for repeat_sec in repeats_sec)
        if expected is not None:
            yield from ((self._seconds(ticks), None) for ticks in expected.end())

    def _packets(self) -> Iterator[tuple[Packet[VideoStream] | None, bool]]:
        """Yields the packets, and whether sampling will leave out the frame of each; see `mark_unwanted`."""
        packets = read_packets(self._container, [self._stream])
        return mark_unwanted(packets, self._options.max_fps) if self.may_skip else ((packet, False) for packet in packets)

    def _decode(self, packet: Packet[VideoStream] | None, is_unwanted: bool) -> list[VideoFrame]:
        """Returns the frames that a packet completes; notes damage, such as the missing packet None.

        Raises:
          ThreadsLostFramesError: There may be damage, and more than one thread decodes.
          UnsafeSkippingError: There is damage, and frames may be skipped.
        """
        if self._nvdec:
            return self._nvdec.decode(packet)
        if is_unwanted and packet is not None and self._layers is not None and self._layers.number > 1:
            is_unwanted = self._layers.is_highest(bytes(packet))
        if is_unwanted != self._skips:
            self._skips = is_unwanted
            self._stream.codec_context.skip_frame = "NONREF" if is_unwanted else "DEFAULT"
        may_be_damaged = packet is not None and packet.is_corrupt
        try:
            frames = packet.decode() if packet else []
        except MemoryError:
            raise
        except FFmpegError:
            packet, frames = None, []
        self.is_damaged |= packet is None or any(frame.is_corrupt for frame in frames)  # FFmpeg guessed parts of those
        loses_frames = (self.is_damaged or may_be_damaged) and self._options.decoder_threads > 1
        if self.may_skip and (self.is_damaged or loses_frames):
            raise UnsafeSkippingError(is_damaged=True)
        if loses_frames:
            raise ThreadsLostFramesError
        return frames

    def _time_sec(self, shown: VideoFrame | Packet[VideoStream]) -> float | None:
        """Returns the time in seconds at which the container shows a frame or packet; None if it does not say.

        AVI stores no display times, and those that FFmpeg invents for it go back and forth.
        """
        first, second = (shown.dts, shown.pts) if self._is_avi else (shown.pts, shown.dts)
        ticks = second if first is None else first
        return None if ticks is None or not self._time_base else self._seconds(ticks)

    def _seconds(self, ticks: int) -> float:
        return to_seconds(ticks, self._time_base) if self._time_base else 0.0
