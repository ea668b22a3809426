"""How long videos are follows from counted ones of similar size, else from headers, and the result says from what."""

import pytest

from pipeline.durations import (
    TYPICAL_BYTES_PER_SEC,
    Basis,
    SizeClass,
    bytes_per_sec,
    choose_headers,
    estimate_durations,
    is_known,
    size_class_of,
)
from transforms.warehouse.base import EarlierRuns

NOTHING = EarlierRuns({}, {}, 0.0, 0.0)

KNOWN = EarlierRuns({10: 100.0, 14: 500.0}, {10: 230, 14: 3}, 0.0, 0.0)


@pytest.mark.parametrize(("size_bytes", "size_class"), [(0, 0), (1, 0), (1023, 9), (1024, 10), (2047, 10), (2048, 11)])
def test_a_size_class_holds_sizes_up_to_twice_its_smallest(size_bytes, size_class):
    assert size_class_of(size_bytes) == size_class


def test_the_nearest_counted_size_tells_the_rate():
    assert [bytes_per_sec(KNOWN, size_class) for size_class in (2, 10, 12, 13, 30)] == [100, 100, 100, 500, 500]
    assert bytes_per_sec(NOTHING, 10) == TYPICAL_BYTES_PER_SEC


@pytest.mark.parametrize(("size_class", "known"), [(8, False), (9, True), (10, True), (11, True), (12, False), (14, False)])
def test_a_class_is_known_if_enough_videos_of_similar_size_are_counted(size_class, known):
    assert is_known(KNOWN, size_class) is known
    assert not is_known(NOTHING, size_class)


@pytest.mark.parametrize(("counted", "known"), [(19, False), (20, True)])
def test_twenty_counted_videos_are_enough(counted, known):
    assert is_known(EarlierRuns({10: 100.0}, {10: counted}, 0.0, 0.0), 10) is known


@pytest.mark.parametrize(
    ("videos", "chosen"),
    [
        ({}, {}),
        ({10: 3}, {10: 3}),
        ({10: 1000}, {10: 20}),
        ({10: 1, 11: 1000, 12: 1}, {10: 1, 11: 18, 12: 1}),
        ({10: 300, 11: 100}, {10: 15, 11: 5}),
        ({10: 2, 11: 3}, {10: 2, 11: 3}),
    ],
)
def test_headers_are_chosen_across_sizes_most_where_most_videos_are(videos, chosen):
    assert choose_headers(videos) == chosen


def test_of_more_sizes_than_headers_those_with_the_most_videos_are_looked_at():
    assert choose_headers({10: 5, 11: 1, 12: 7, 13: 9}, total=3) == {13: 1, 12: 1, 10: 1}


def test_counted_videos_of_similar_size_are_enough():
    video_sec, basis = estimate_durations({9: SizeClass(4, 3000)}, KNOWN, [(600, 1.0)], Basis())
    assert video_sec == 30.0
    assert (basis.counted_videos, basis.header_videos, basis.assumed_videos) == (230, 0, 0)


def test_headers_tell_what_too_few_counted_videos_do_not():
    headers = [(20_000, 2.0), (20_000, 4.0)]
    video_sec, basis = estimate_durations({9: SizeClass(4, 3000), 14: SizeClass(50, 10**6)}, KNOWN, headers, Basis())
    assert video_sec == pytest.approx(30.0 + 150.0)
    assert (basis.counted_videos, basis.read_headers, basis.header_videos, basis.assumed_videos) == (230, 2, 50, 0)


def test_few_counted_videos_are_better_than_an_assumption():
    video_sec, basis = estimate_durations({14: SizeClass(50, 10**6)}, KNOWN, [], Basis(tried_headers=7))
    assert video_sec == pytest.approx(2000.0)
    assert (basis.counted_videos, basis.assumed_videos) == (3, 0)
    assert str(basis) == "from 3 counted videos of similar size; no header could be read"


def test_without_any_header_the_rate_is_assumed():
    video_sec, basis = estimate_durations({14: SizeClass(50, 7_500_000)}, NOTHING, [], Basis(tried_headers=7))
    assert (video_sec, basis.assumed_videos) == (10.0, 50)


def test_sizes_without_a_header_are_estimated_from_the_nearest_size():
    headers = [(2**10, 1.0), (2**20, 256.0)]
    video_sec, _ = estimate_durations({10: SizeClass(1, 1024), 22: SizeClass(1, 2**22)}, NOTHING, headers, Basis())
    assert video_sec == pytest.approx(1.0 + 1024.0)


def test_each_size_is_estimated_from_headers_of_that_size():
    headers = [(2**10, 1.0)] * 5 + [(2**20, 8.0)] * 5
    video_sec, basis = estimate_durations({10: SizeClass(7, 2**13), 20: SizeClass(9, 2**23)}, NOTHING, headers, Basis())
    assert video_sec == pytest.approx(8.0 + 64.0)
    assert (basis.read_headers, basis.header_videos) == (10, 16)


@pytest.mark.parametrize("lie_sec", [1e-9, 4 * 3600.0])
def test_a_header_that_lies_hardly_changes_the_estimate_of_the_others(lie_sec):
    headers = [(10**6, 1.0)] * 19 + [(10**6, lie_sec)]
    video_sec, _ = estimate_durations({19: SizeClass(500, 5 * 10**8)}, NOTHING, headers, Basis())
    assert 500 / 1.5 < video_sec < 500 * 1.5


def test_a_header_that_lies_does_not_change_the_estimate_of_other_sizes():
    headers = [(2**20, 1.0)] * 19 + [(2**10, 4 * 3600.0)]
    video_sec, _ = estimate_durations({10: SizeClass(1, 2**10), 20: SizeClass(99, 99 * 2**20)}, NOTHING, headers, Basis())
    assert video_sec == pytest.approx(99.0, rel=0.01)


def test_rates_that_differ_are_averaged():
    headers = [(10**6, 1.0)] * 5 + [(10**6, 3.0)] * 5
    assert estimate_durations({19: SizeClass(500, 5 * 10**8)}, NOTHING, headers, Basis())[0] == pytest.approx(1000.0)


@pytest.mark.parametrize(
    ("basis", "text"),
    [
        (Basis(), ""),
        (Basis(known_videos=2, known_sec=60.0), "of 2 videos known, 1.0 min"),
        (Basis(tried_headers=17, read_headers=17, header_videos=412), "from 17 of 412 headers"),
        (Basis(tried_headers=20, read_headers=17, header_videos=412), "from 17 of 412 headers, 3 more could not be read"),
        (Basis(counted_videos=230), "from 230 counted videos of similar size"),
        (Basis(tried_headers=5, assumed_videos=50), "assumed 6 Mbit/s: no header could be read"),
        (
            Basis(known_videos=2, known_sec=60.0, tried_headers=4, read_headers=4, header_videos=12, counted_videos=230),
            "of 2 videos known, 1.0 min; the others from 230 counted videos of similar size; from 4 of 12 headers",
        ),
    ],
)
def test_an_estimate_says_what_it_rests_on(basis, text):
    assert str(basis) == text
