"""The pace of a run is smooth, says nothing before it knows, and fits into lines of any width."""

import pytest

from pipeline.progress_figures import Figures, Pace, Rate, WholeRun, flow, progress_line
from transforms.records import Slice


def figures(done=0, failed=0, frames=0):
    return Figures(listed=1500, skipped=300, done=done, failed=failed, frames=frames)


def paced(done, frames, now_sec):
    pace = Pace()
    pace.update(figures(), 0.0)
    pace.update(figures(done, frames=frames), now_sec)
    return pace


def test_nothing_is_said_of_the_pace_before_the_first_video():
    pace = Pace()
    for now_sec in (0.0, 0.5, 60.0):
        pace.update(figures(), now_sec)
        assert pace.spelled() == []
        assert pace.left(1200) == ""
    assert progress_line(figures(), pace) == "0 of 1,200 videos done, 0 failed"


def test_frames_have_a_rate_while_the_first_video_is_scored():
    pace = paced(done=0, frames=3000, now_sec=10.0)
    assert pace.spelled() == ["300 frames/s"]
    assert pace.left(1200) == ""


def test_a_line_tells_done_failed_pace_and_time_left():
    pace = paced(done=120, frames=60_000, now_sec=60.0)
    assert progress_line(figures(120, failed=12, frames=60_000), pace) == (
        "120 of 1,200 videos done, 12 failed, 2.0 videos/s, 1,000 frames/s, 0:09:00 left"
    )


def test_a_line_of_a_slice_also_tells_of_the_whole_run():
    whole = WholeRun(Slice(2, 3), num_videos=3600, done=1200)
    line = progress_line(figures(120), paced(done=120, frames=0, now_sec=60.0), whole)
    assert line == (
        "Slice 2 of 3: 120 of 1,200 videos done, 0 failed, 2.0 videos/s, 0:09:00 left; "
        "all slices: 1,320 of 3,600 videos done, 0:19:00 left"
    )


def test_no_time_is_left_when_all_videos_are_done():
    assert paced(done=1200, frames=10, now_sec=60.0).left(0) == ""


def test_writing_rows_after_the_last_video_does_not_slow_the_pace():
    pace = paced(done=1200, frames=60_000, now_sec=60.0)
    before = pace.spelled()
    pace.update(figures(1200, frames=60_000), 600.0)
    assert pace.spelled() == before == ["20 videos/s", "1,000 frames/s"]


def test_what_was_there_at_the_start_does_not_count_as_pace():
    rate = Rate(1000, 0.0)
    rate.update(1010, 10.0)
    assert rate.per_sec(10.0) == 1.0


def test_one_slow_video_among_fast_ones_changes_the_rate_little():
    rate, now_sec = Rate(0, 0.0), 0.0
    for done in range(1, 201):
        now_sec += 10.0
        rate.update(done, now_sec)
    assert rate.per_sec(now_sec) == pytest.approx(0.1)
    rate.update(201, now_sec + 60.0)
    assert rate.per_sec(now_sec + 60.0) == pytest.approx(0.1, rel=0.15)


def test_the_rate_follows_a_run_that_becomes_faster():
    rate, now_sec = Rate(0, 0.0), 0.0
    for done in range(1, 401):
        now_sec += 10.0 if done <= 200 else 1.0
        rate.update(done, now_sec)
    assert rate.per_sec(now_sec) > 0.8


def test_the_rate_falls_when_nothing_arrives():
    rate = Rate(0, 0.0)
    rate.update(10, 10.0)
    assert rate.per_sec(100.0) == pytest.approx(0.1)


@pytest.mark.parametrize(
    ("done", "spelled"),
    [(3, "3.0 videos/h"), (100, "1.7 videos/min"), (3600, "1.0 videos/s"), (45_000, "12 videos/s")],
)
def test_slow_rates_are_told_by_the_minute_or_the_hour(done, spelled):
    assert paced(done, frames=0, now_sec=3600.0).spelled() == [spelled]


@pytest.mark.parametrize(("done", "left"), [(1, "1,199:00:00 left"), (600, "1:00:00 left"), (1199, "0:00:03 left")])
def test_time_left_has_hours_minutes_and_seconds(done, left):
    assert paced(done, frames=0, now_sec=3600.0).left(1200 - done) == left


def test_parts_flow_into_lines_that_fit():
    parts = ["listed 1,500", "skipped 300", "failed 12"]
    assert flow(parts, 80) == ["listed 1,500 · skipped 300 · failed 12"]
    assert flow(parts, 30) == ["listed 1,500 · skipped 300", "failed 12"]
    assert flow(parts, 5) == parts
    assert flow([], 80) == []
