"""Frames that sampling leaves out are known before they are decoded, whatever the order of packets."""

from fractions import Fraction
from types import SimpleNamespace

import pytest

from transforms.decoding.clock import FrameSampler
from transforms.decoding.frame_skipping import ExpectedFrames, UnsafeSkippingError, mark_unwanted, to_seconds


def packet(pts, size=100, is_discard=False):
    return SimpleNamespace(pts=pts, size=size, is_discard=is_discard, time_base=Fraction(1, 1000))


def reordered(times):
    """Returns packets in groups of four, each with its last frame first, as with B-frames."""
    groups = [times[i : i + 4] for i in range(0, len(times), 4)]
    return [packet(time) for group in groups for time in (group[-1:] + group[:-1])]


def kept(times, max_fps):
    sampler = FrameSampler(max_fps)
    return [time for time in times if sampler.keeps((time - times[0]) / 1000)]


@pytest.mark.parametrize("step", [4, 10, 17, 33, 40])
@pytest.mark.parametrize("max_fps", [10.0, 30.0])
@pytest.mark.parametrize("first", [70, 0, -40])
def test_what_is_left_is_what_sampling_keeps(step, max_fps, first):
    times = list(range(first, first + 100 * step, step))
    packets = reordered(times)
    marked = list(mark_unwanted(packets, max_fps))
    assert [given for given, _ in marked] == packets
    left = {given.pts for given, is_unwanted in marked if not is_unwanted}
    assert left >= set(kept(times, max_fps))
    assert sorted(left & set(times[:80])) == [time for time in kept(times, max_fps) if time in times[:80]]
    assert left >= set(times[-16:])  # a file that was cut off shows damage there


def test_damage_and_packets_without_a_time_or_a_frame_are_decoded_and_keep_their_place():
    packets = [None, packet(0), packet(None), packet(1, size=0), packet(2, is_discard=True), packet(3), None, packet(4)]
    marked = list(mark_unwanted([*packets, *map(packet, range(5, 22))], 30.0))
    assert [given for given, _ in marked[:8]] == packets
    assert [given.pts for given, is_unwanted in marked[:8] if is_unwanted] == [3, 4]


def test_a_time_far_ahead_does_not_hold_packets_back():
    waiting = 0

    def packets():
        nonlocal waiting
        for time in [10**9, *range(0, 5000, 10)]:
            waiting += 1
            yield packet(time)

    for _, _ in mark_unwanted(packets(), 30.0):
        waiting -= 1
        assert waiting < 50


def test_large_packets_do_not_wait():
    sizes = []

    def packets():
        for time in range(0, 1000, 10):
            sizes.append(8 << 20)
            yield packet(time, size=8 << 20)

    for number, (_, is_unwanted) in enumerate(mark_unwanted(packets(), 30.0)):
        assert len(sizes) - number <= 4
        assert not is_unwanted  # since what is shown before it is not known yet


def test_packets_that_have_gone_on_take_no_room():
    marked = list(mark_unwanted([packet(time, size=1 << 19) for time in range(0, 4000, 10)], 30.0))
    assert sum(is_unwanted for _, is_unwanted in marked[-100:-20]) > 40  # after 150 MB, of which 9 MB wait at a time


def test_a_time_is_its_ticks_of_the_time_base():
    assert to_seconds(60, Fraction(1001, 30_000)) == 2.002


def test_a_stream_without_packets_has_none():
    assert list(mark_unwanted([], 30.0)) == []


def expected(*packets):
    """Returns the frames expected of packets: their times, and whether each is unwanted."""
    frames = ExpectedFrames()
    for ticks, is_unwanted in packets:
        frames.add(ticks, is_unwanted)
    return frames


def test_skipped_frames_come_before_the_next_one_and_those_decoded_nevertheless_do_not():
    frames = expected((1, False), (5, True), (3, True), (4, True), (8, True))
    assert frames.show(1) == []
    assert frames.show(5) == [3, 4]
    assert frames.end() == [8]


@pytest.mark.parametrize("ticks", [3, 2, 1])
def test_a_packet_whose_frame_would_come_twice_or_too_late_is_refused(ticks):
    frames = expected((1, False), (3, False), (5, False))
    assert frames.show(1) == frames.show(3) == []
    with pytest.raises(UnsafeSkippingError):
        frames.add(ticks, is_unwanted=True)
    with pytest.raises(UnsafeSkippingError):
        frames.add(5, is_unwanted=True)
    frames.add(4, is_unwanted=True)
    assert frames.show(5) == [4]


@pytest.mark.parametrize("ticks", [None, 2, 0])
def test_a_frame_that_comes_from_no_packet_is_refused(ticks):
    with pytest.raises(UnsafeSkippingError):
        expected((1, False), (3, False)).show(ticks)
    frames = expected((1, False), (3, True))
    assert frames.show(1) == []
    with pytest.raises(UnsafeSkippingError):
        frames.show(ticks)


def test_a_frame_that_was_not_to_be_skipped_is_missed():
    frames = expected((1, False), (2, True), (3, False), (4, False))
    assert frames.show(1) == []
    with pytest.raises(UnsafeSkippingError):
        frames.show(4)
    frames = expected((1, False), (2, True), (3, False))
    assert frames.show(1) == []
    with pytest.raises(UnsafeSkippingError):
        frames.end()


def test_no_frame_is_missing_before_the_first():
    with pytest.raises(UnsafeSkippingError):
        expected((1, True), (2, False)).show(2)
