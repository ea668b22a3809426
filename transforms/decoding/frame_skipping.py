"""Finds frames that sampling will leave out before they are decoded, so that a decoder may skip them. Imports no Beam.

Packets come in the order of decoding. Which frames sampling keeps depends on the order of display. So packets wait until those
shown before them are known.
"""

from __future__ import annotations

import collections
import heapq
from collections.abc import Iterable, Iterator
from fractions import Fraction
from typing import Protocol, TypeVar

from transforms.decoding.clock import FrameSampler

_REORDERED_FRAMES = 16
"""Most frames that are decoded before one that is shown before them, in H.264 and HEVC."""

_WAITING_PACKETS = 3 * _REORDERED_FRAMES

_WAITING_BYTES = 16 << 20


class TimedPacket(Protocol):
    """What is needed of PyAV's packets.

    Attributes:
      pts: When its frame is shown, in units of `time_base`; None if unknown.
      time_base: Seconds.
      size: Bytes.
      is_discard: Whether the container hides its frame.
    """

    pts: int | None
    time_base: Fraction
    size: int
    is_discard: bool


_Packet = TypeVar("_Packet", bound=TimedPacket)


def mark_unwanted(packets: Iterable[_Packet | None], max_fps: float) -> Iterator[tuple[_Packet | None, bool]]:
    """Yields packets in their order, and whether `FrameSampler` would leave out the frame of each, so that it may be skipped.

    Damage, None, and packets without a time or without a frame to show go on as ones to decode. So do those that would wait
    for too many others, or too many bytes, and the last ones: a file that was cut off shows damage there.

    Args:
      packets: Packets of one stream, in the order of decoding.
      max_fps: Most frames per second to keep.
    """
    sampler = FrameSampler(max_fps)
    waiting: collections.deque[_Packet | None] = collections.deque()
    num_bytes = 0
    upcoming: list[int] = []  # times of frames whose turn to be shown has not come, a heap
    unwanted: dict[int, bool] = {}  # by time, until the packet has gone on
    gone: set[int] = set()  # times of packets that went on before their turn
    first_ticks: int | None = None
    time_base: Fraction | None = None

    def decide(time_base: Fraction) -> None:
        nonlocal first_ticks
        ticks = heapq.heappop(upcoming)
        first_ticks = ticks if first_ticks is None else first_ticks
        is_unwanted = not sampler.keeps(to_seconds(ticks, time_base) - to_seconds(first_ticks, time_base))
        if ticks in gone:
            gone.discard(ticks)
        else:
            unwanted[ticks] = is_unwanted

    for packet in packets:
        waiting.append(packet)
        ticks = shown_ticks(packet)
        if packet is not None and ticks is not None:
            time_base = time_base or packet.time_base
            num_bytes += packet.size
            heapq.heappush(upcoming, ticks)
        if time_base and len(upcoming) > _REORDERED_FRAMES:
            decide(time_base)
        while waiting:
            head = waiting[0]
            ticks = shown_ticks(head)
            if head is not None and ticks is not None:
                if ticks not in unwanted:
                    if len(waiting) <= _WAITING_PACKETS and num_bytes <= _WAITING_BYTES:
                        break
                    gone.add(ticks)
                num_bytes -= head.size
            waiting.popleft()
            yield head, ticks is not None and unwanted.pop(ticks, False)
    yield from ((packet, False) for packet in waiting)


def to_seconds(ticks: int, time_base: Fraction) -> float:
    """Returns a time in seconds. Sampling must decide on the same number before and after decoding, to the last bit."""
    return ticks * time_base.numerator / time_base.denominator


def shown_ticks(packet: TimedPacket | None) -> int | None:
    """Returns when the frame of a packet is shown; None if it is not shown, or the packet does not say."""
    return packet.pts if packet is not None and packet.size and not packet.is_discard else None


class UnsafeSkippingError(Exception):
    """Packets do not tell which frames of a stream may be skipped, or the decoder has lost others with them.

    Attributes:
      is_damaged: Whether the stream is or may be damaged.
    """

    def __init__(self, *, is_damaged: bool = False) -> None:
        super().__init__()
        self.is_damaged = is_damaged


class ExpectedFrames:
    """Checks that all frames which may not be skipped come out of the decoder, each at its time, and gives the times of others.

    All times are in ticks of the stream.
    """

    def __init__(self) -> None:
        self._upcoming: list[int] = []  # a heap
        self._is_unwanted: dict[int, bool] = {}
        self._last: int | None = None

    def add(self, ticks: int, is_unwanted: bool) -> None:
        """Notes a packet before it is decoded.

        Args:
          ticks: When its frame is shown.
          is_unwanted: Whether the decoder may skip that frame.

        Raises:
          UnsafeSkippingError: A frame at that time has been there, or a later one has been shown. So the container's clock
            starts over, or its times are not those of frames.
        """
        if ticks in self._is_unwanted or (self._last is not None and ticks <= self._last):
            raise UnsafeSkippingError
        self._is_unwanted[ticks] = is_unwanted
        heapq.heappush(self._upcoming, ticks)

    def show(self, ticks: int | None) -> list[int]:
        """Returns the times of the frames that were skipped before one that the decoder shows, in order.

        Raises:
          UnsafeSkippingError: The frame comes from no packet, or one that was not to be skipped has not come. Nor may any be
            missing before the first one, from which sampling counts.
        """
        if ticks not in self._is_unwanted:
            raise UnsafeSkippingError
        skipped = []
        while self._upcoming[0] != ticks:
            if self._last is None:
                raise UnsafeSkippingError
            skipped.append(self._skip())
        del self._is_unwanted[heapq.heappop(self._upcoming)]
        self._last = ticks
        return skipped

    def end(self) -> list[int]:
        """Returns the times of the frames that were skipped after the last one; raises UnsafeSkippingError as `show` does."""
        return [self._skip() for _ in range(len(self._upcoming))]

    def _skip(self) -> int:
        ticks = heapq.heappop(self._upcoming)
        if not self._is_unwanted.pop(ticks):
            raise UnsafeSkippingError
        return ticks
