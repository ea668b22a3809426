"""Subtitles show the number of each repetition from when it is complete until the next one is."""

import re

import av
import pytest

from pipeline.subtitles import Cue, repetition_cues, to_srt, to_vtt


def spans(times_sec, duration_sec):
    return [(cue.number, cue.start_ms, cue.end_ms) for cue in repetition_cues(times_sec, duration_sec)]


def test_a_number_is_shown_from_its_repetition_to_the_next_one_and_the_last_one_until_the_end():
    assert spans([1.5, 2.0, 7.25], 10.0) == [(1, 1500, 2000), (2, 2000, 7250), (3, 7250, 10_000)]


def test_the_last_number_can_be_seen_even_if_its_repetition_ends_with_the_video():
    assert spans([2.0, 5.0], 5.0) == [(1, 2000, 4500), (2, 4500, 5000)]
    assert spans([4.8, 5.0], 5.0) == [(1, 4800, 4900), (2, 4900, 5000)]
    assert spans([0.6], 0.6) == [(1, 300, 600)]


def test_numbers_are_as_late_as_the_video_is():
    cues = repetition_cues([1.5, 2.0], 10.0, first_frame_sec=6.0)
    assert [(cue.start_ms, cue.end_ms) for cue in cues] == [(7500, 8000), (8000, 16_000)]


def test_no_repetition_has_no_cue():
    assert repetition_cues([], 10.0) == ()
    assert to_srt(()) == ""
    assert to_vtt(()) == "WEBVTT\n\n"


def test_no_cue_is_empty_or_overlaps_another():
    assert spans([1.0, 1.0001, 1.0004, 2.0], 3.0) == [(3, 1000, 2000), (4, 2000, 3000)]
    assert all(start < end for _, start, end in spans([1.0, 5.0], 0.0))


def test_hours_are_more_than_two_digits_if_need_be():
    cue = Cue(7, 3_661_001, 100 * 3_600_000)
    assert to_srt([cue]) == "1\n01:01:01,001 --> 100:00:00,000\n7\n\n"
    assert to_vtt([cue]) == "WEBVTT\n\n01:01:01.001 --> 100:00:00.000\n7\n\n"


@pytest.mark.parametrize(("suffix", "write"), [(".srt", to_srt), (".vtt", to_vtt)])
def test_players_read_the_numbers_at_their_times(tmp_path, suffix, write):
    cues = repetition_cues([1.5, 2.0, 3661.25], 4000.0)
    path = tmp_path / f"squats{suffix}"
    path.write_text(write(cues))
    with av.open(str(path)) as container:
        (stream,) = container.streams.subtitles
        packets = [packet for packet in container.demux(stream) if packet.size]
        read = [
            Cue(
                int(bytes(packet)),
                *(round(1000 * ticks * packet.time_base) for ticks in (packet.pts, packet.pts + packet.duration)),
            )
            for packet in packets
        ]
    assert tuple(read) == cues


def test_the_texts_are_as_their_formats_ask():
    cues = repetition_cues([1.5, 2.0], 3.0)
    time = r"\d\d:\d\d:\d\d,\d\d\d"
    assert re.fullmatch(rf"(\d+\n{time} --> {time}\n\d+\n\n){{2}}", to_srt(cues))
    time = r"\d\d:\d\d:\d\d\.\d\d\d"
    assert re.fullmatch(rf"WEBVTT\n\n({time} --> {time}\n\d+\n\n){{2}}", to_vtt(cues))
