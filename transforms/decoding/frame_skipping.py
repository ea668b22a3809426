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
    for too many others, or too many bytes.

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

    def decide(time_base: float) -> None:
        nonlocal first_ticks
        ticks = heapq.heappop(upcoming)
        first_ticks = ticks if first_ticks is None else first_ticks
        is_unwanted = not sampler.keeps((ticks - first_ticks) * time_base)
        if ticks in gone:
            gone.discard(ticks)
        else:
            unwanted[ticks] = is_unwanted

    time_base = 0.0
    for packet in packets:
        waiting.append(packet)
        ticks = _shown_ticks(packet)
        if packet is not None and ticks is not None:
            time_base = time_base or float(packet.time_base)
            num_bytes += packet.size
            heapq.heappush(upcoming, ticks)
        if len(upcoming) > _REORDERED_FRAMES:
            decide(time_base)
        while waiting:
            head = waiting[0]
            ticks = _shown_ticks(head)
            if head is not None and ticks is not None:
                if ticks not in unwanted:
                    if len(waiting) <= _WAITING_PACKETS and num_bytes <= _WAITING_BYTES:
                        break
                    gone.add(ticks)
                num_bytes -= head.size
            waiting.popleft()
            yield head, ticks is not None and unwanted.pop(ticks, False)
    while upcoming:
        decide(time_base)
    for packet in waiting:
        ticks = _shown_ticks(packet)
        yield packet, ticks is not None and unwanted.pop(ticks, False)


def _shown_ticks(packet: TimedPacket | None) -> int | None:
    """Returns when the frame of a packet is shown; None if it is not shown, or the packet does not say."""
    return packet.pts if packet is not None and packet.size and not packet.is_discard else None


class SkippedFrames:
    """Times of frames that the decoder was told to skip, until frames shown after them appear."""

    def __init__(self) -> None:
        self._times_sec: list[float] = []

    def add(self, time_sec: float) -> None:
        """Notes that the frame at a time may be skipped."""
        heapq.heappush(self._times_sec, time_sec)

    def before(self, time_sec: float) -> Iterator[float]:
        """Yields the times of skipped frames before a time, in order. The frame at that time was decoded nevertheless."""
        while self._times_sec and self._times_sec[0] <= time_sec:
            skipped_sec = heapq.heappop(self._times_sec)
            if skipped_sec < time_sec:
                yield skipped_sec
