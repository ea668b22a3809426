"""A report is read from DuckDB and from BigQuery alike."""

import dataclasses
import datetime
import itertools

import numpy as np
import pytest

from pipeline.command_line import UsageError
from pipeline.report import data
from pipeline.report.content import Totals
from pipeline.report.data import read_report
from tests.support.samples import STARTED, UPDATED, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import KINDS, commit, make_warehouse
from transforms.failure_codes import FailureCode
from transforms.records import VideoFlag
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse

DAY = datetime.date(2026, 1, 1)
NEXT_DAY = datetime.date(2026, 1, 2)


def on_next_day(outcome):
    """Returns a count or a failure with its video uploaded a day later."""
    video = outcome.video
    return dataclasses.replace(
        outcome, video=make_video(video.uri, video.generation, updated=UPDATED + datetime.timedelta(days=1))
    )


def run(run_id, hours, **changes):
    return make_provenance(run_id, started=STARTED + datetime.timedelta(hours=hours), **changes)


@pytest.fixture
def duckdb(tmp_path):
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    return warehouse


@pytest.fixture(scope="module", params=KINDS)
def warehouse(request):
    """Tables with two nights of `lite`, the second in two slices, and the first night with another model; only to be read."""
    warehouse = make_warehouse(request.param, request)
    warehouse.prepare()
    first_night = (
        make_video_count("gs://b/a.mp4"),
        make_video_count("gs://b/b.mp4", certainty=0.6),
        make_failure("gs://b/c.mp4"),
    )
    commit(warehouse, run("monday", 0), *first_night)
    commit(
        warehouse, run("trial", 1, model="other"), make_video_count("gs://b/a.mp4", count=9.0, confidence=0.25), first_night[2]
    )
    second_night = [
        make_video_count("gs://b/long.mp4", num_frames=400, certainty=0.95, flags=[VideoFlag.ROTATED]),
        make_video_count("gs://b/unsure.mp4", certainty=0.3, confidence=1.0),
        make_video_count("gs://b/still.mp4", count=0.0, certainty=None, confidence=0.0, stride_scores={1: 0.4}, segments=()),
        make_failure("gs://b/text.mp4", message="no video in it"),
        make_failure("gs://b/other.mp4", code=FailureCode.TOO_LARGE),
    ]
    commit(warehouse, run("tuesday-1of2", 24), *map(on_next_day, second_night[:3]), skipped=2, listed=5)
    commit(warehouse, run("tuesday-2of2", 25), *map(on_next_day, second_night[3:]), skipped=1, listed=3)
    return warehouse


def test_the_page_is_about_the_latest_run_with_all_its_slices_beside_the_run_before(warehouse):
    report = read_report(warehouse)
    assert (report.scope.name, report.scope.run_ids) == ("tuesday", ("tuesday-1of2", "tuesday-2of2"))
    assert (report.scope.dates, report.scope.model) == ((NEXT_DAY,), "lite")
    assert report.before.name == "monday"
    assert report.totals == Totals(
        counted=3,
        failed=2,
        in_tables=3,
        repeating=2,
        repetitions=pytest.approx(12.5),
        video_sec=pytest.approx(60.0),
        mean_confidence=pytest.approx(0.75),
        mean_certainty=pytest.approx(0.625),
        listed=8,
        skipped=3,
        wall_sec=pytest.approx(5 * 60 - 86400 + 5 * 60 - 90000),  # `commit` ends all runs at the same time
    )
    assert (report.totals_before.counted, report.totals_before.failed, report.totals_before.repetitions) == (2, 1, 5.0)
    assert [(group.code, group.videos, group.example_uri) for group in report.failures] == [
        ("NOT_A_VIDEO", 1, "gs://b/text.mp4"),
        ("TOO_LARGE", 1, "gs://b/other.mp4"),
    ]
    assert report.failures_before == {"NOT_A_VIDEO": 1}
    assert [(day.first, day.counted, day.failed, day.in_scope) for day in report.days[-2:]] == [
        (DAY, 2, 1, False),
        (NEXT_DAY, 3, 2, True),
    ]
    assert report.confidence == (0, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert report.certainty == (0, 0, 0, 1, 0, 0, 0, 0, 0, 1)
    assert (report.longest[0].uri, report.longest[0].duration_sec) == ("gs://b/long.mp4", 40.0)
    assert [video.uri for video in report.review] == ["gs://b/unsure.mp4", "gs://b/still.mp4", "gs://b/long.mp4"]
    assert report.to_review == 2
    longest = report.review[-1]
    assert (longest.flags, longest.segments, longest.width) == (("ROTATED",), ((10.0, 30.0),), 640)
    assert (longest.generation, longest.size_bytes, longest.updated) == (1, 12_345, UPDATED + datetime.timedelta(days=1))
    curve = report.curves["gs://b/long.mp4", 1]
    assert len(curve.times_sec) == data.CURVE_POINTS
    assert (curve.times_sec[-1], curve.counts[-1]) == pytest.approx((39.9, 10.0))
    assert max(curve.periodicity) == 1.0
    assert list(curve.times_sec) == sorted(curve.times_sec)
    assert report.notes == ()


def test_a_date_is_shown_with_its_latest_model_beside_the_day_before(warehouse):
    report = read_report(warehouse, dates=[NEXT_DAY])
    assert (report.scope.name, report.scope.model, report.before.name) == ("2026-01-02", "lite", "2026-01-01")
    assert (report.totals.counted, report.totals.failed, report.totals.listed) == (3, 2, None)
    assert (report.totals_before.counted, report.totals_before.failed) == (2, 1)
    both = read_report(warehouse, dates=[DAY, NEXT_DAY])
    assert (both.scope.name, both.totals.counted, both.totals.failed) == ("2026-01-01..2026-01-02", 5, 3)
    assert (both.totals_before.counted, both.totals_before.failed) == (0, 0)


def test_the_page_of_a_date_says_what_other_models_have_there(warehouse):
    report = read_report(warehouse, dates=[DAY])
    options = make_provenance().options_hash
    assert report.notes == (
        f"This page shows model other with options {options}. Other models or options have 2 counts and 1 failure on these "
        f"dates: lite with options {options} (2 and 1).",
    )
    assert report.has_others
    for asked in ({"dates": [NEXT_DAY]}, {"run": "monday"}):
        report = read_report(warehouse, **asked)
        assert (report.notes, report.has_others) == ((), False)


def test_of_many_other_models_the_page_of_a_date_names_a_few(duckdb):
    for number in range(8):
        commit(duckdb, run(f"trial-{number}", number, model=f"model-{number}"), *[make_video_count()] * (number < 7))
    commit(duckdb, run("last", 9), make_failure("gs://b/b.mp4"))
    report = read_report(duckdb, dates=[DAY])
    assert (report.totals.counted, report.totals.failed) == (0, 1)
    (note,) = report.notes
    assert "Other models or options have 7 counts and 0 failures on these dates: model-0 with options" in note
    assert note.count("(1 and 0)") == data.MAX_OTHERS
    assert note.endswith("(1 and 0), and 2 more.")


def test_two_models_are_compared_on_the_videos_of_the_page(warehouse):
    report = read_report(warehouse, run="monday", compare="other")
    compared = report.comparison
    assert (compared.videos, compared.within_one, compared.mean_difference) == (1, 0, pytest.approx(6.5))
    assert (compared.repetitions, compared.other_repetitions) == (2.5, 9.0)
    assert compared.by_difference == {data.MAX_DIFFERENCE: 1}
    (difference,) = compared.largest
    assert dataclasses.astuple(difference) == ("gs://b/a.mp4", 2.5, 9.0, 0.5, 0.25)
    other_way = read_report(warehouse, run="trial", compare="lite").comparison
    assert (other_way.mean_difference, other_way.by_difference) == (pytest.approx(-6.5), {-data.MAX_DIFFERENCE: 1})
    assert read_report(warehouse, dates=[DAY], compare="lite").scope.model == "other"


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"run": "sunday"}, "with 3 runs, of which the latest are tuesday, trial, monday, not 'sunday'"),
        ({"dates": [datetime.date(2026, 3, 1)]}, "with rows on 2 dates, of which the latest are 2026-01-02, 2026-01-01"),
        ({"run": "monday", "compare": "best"}, "Received: 'best', and tables with other"),
        ({"run": "monday", "compare": "lite"}, "another model than that of the run. Received: 'lite'"),
    ],
)
def test_what_is_not_there_is_one_line_that_names_what_is(warehouse, asked, message):
    with pytest.raises(UsageError) as raised:
        read_report(warehouse, **asked)
    assert message in str(raised.value)
    assert "\n" not in str(raised.value)


def test_a_run_without_new_videos_has_an_empty_page_that_names_the_run_before(duckdb):
    commit(duckdb, run("monday", 0), make_video_count())
    commit(duckdb, run("tuesday", 24), skipped=1, listed=1)
    report = read_report(duckdb)
    assert (report.scope.name, report.scope.dates, report.totals.counted) == ("tuesday", (), 0)
    assert (report.review, report.longest, report.failures, report.curves) == ((), (), (), {})
    assert report.notes == ("This run found nothing new. The latest run before it with results of this model is monday.",)
    assert report.days[-1].last == NEXT_DAY + datetime.timedelta(days=1)


def test_a_run_that_lacks_slices_is_not_the_default_and_says_so(duckdb):
    commit(duckdb, run("monday", 0), make_video_count())
    commit(duckdb, run("tuesday-1of3", 24), make_video_count("gs://b/b.mp4"))
    assert read_report(duckdb).scope.name == "monday"
    report = read_report(duckdb, run="tuesday")
    assert (report.totals.counted, report.notes) == (1, ("Only 1 of the 3 slices of this run are in the tables.",))
    assert read_report(duckdb, run="tuesday-1of3").notes == ()


def test_the_page_of_a_slice_is_about_that_slice_alone(duckdb):
    commit(duckdb, run("monday", 0), make_video_count())
    commit(duckdb, run("tuesday-1of3", 24), make_video_count("gs://b/b.mp4"))
    commit(duckdb, run("tuesday-2of3", 25), make_video_count("gs://b/c.mp4"))
    commit(duckdb, run("tuesday-3of3", 26), skipped=1, listed=1)
    reports = [read_report(duckdb, run=f"tuesday-{number}of3") for number in (1, 2, 3)]
    assert [report.scope.started for report in reports] == [run("slice", hours).run_started for hours in (24, 25, 26)]
    nothing_new = "This run found nothing new. The latest run before it with results of this model is monday."
    assert [report.notes for report in reports] == [(), (), (nothing_new,)]
    assert read_report(duckdb, run="tuesday").notes == ()


def test_tables_without_a_run_are_one_line(duckdb):
    with pytest.raises(UsageError, match="Received: tables without a run"):
        read_report(duckdb)
    with pytest.raises(UsageError, match="Received: tables without rows, not 2026-01-01"):
        read_report(duckdb, dates=[DAY])


def test_rows_that_a_later_run_has_replaced_are_said_to_be_missing(duckdb):
    commit(duckdb, run("monday", 0), make_video_count(), make_video_count("gs://b/b.mp4"))
    commit(duckdb, run("tuesday", 24), make_video_count())
    report = read_report(duckdb, run="monday")
    assert (report.totals.counted, report.totals.in_tables) == (2, 1)
    assert report.notes[0].startswith("1 of the run's 2 results are no longer in the tables")


def test_of_many_videos_few_are_listed_and_all_are_in_the_numbers(duckdb):
    many = [make_video_count(f"gs://b/{number:03d}.mp4", certainty=number / 100) for number in range(100)]
    commit(duckdb, run("monday", 0), *many)
    report = read_report(duckdb)
    assert (report.totals.counted, report.to_review, sum(report.certainty)) == (100, 75, 100)
    assert (len(report.review), len(report.longest)) == (data.MAX_REVIEWED, data.MAX_LISTED)
    assert [video.certainty for video in report.review] == [number / 100 for number in range(data.MAX_REVIEWED)]
    assert set(report.curves) == {(video.uri, video.generation) for video in report.review}


def test_a_model_without_certainty_is_reviewed_by_confidence(duckdb):
    unsure, sure = (make_video_count(f"gs://b/{value}.mp4", certainty=None, confidence=value) for value in (0.4, 0.9))
    commit(duckdb, run("monday", 0, model="other"), sure, unsure)
    report = read_report(duckdb)
    assert ([video.confidence for video in report.review], report.to_review) == ([0.4, 0.9], 1)
    assert (report.totals.mean_certainty, sum(report.certainty)) == (None, 0)


def test_each_point_of_a_reduced_curve_has_the_count_of_its_time(duckdb):
    counted = make_video_count(num_frames=960, certainty=0.1)
    commit(duckdb, run("monday", 0), counted)
    (curve,) = read_report(duckdb).curves.values()
    assert len(curve.times_sec) == data.CURVE_POINTS
    assert curve.times_sec == pytest.approx(counted.times_sec[3::4])
    assert curve.counts == pytest.approx(np.cumsum(counted.counted.per_frame_count)[3::4])


@pytest.mark.parametrize("num_days", [1, 7, 62, 63, 434, 435])
def test_the_first_and_the_last_day_of_a_range_have_a_bar_and_all_days_are_in_one(num_days):
    first = NEXT_DAY - datetime.timedelta(days=num_days - 1)
    days = data._join_days(first, NEXT_DAY, {first: (1, 2, 3.0, 0.5)}, frozenset([first]))
    assert (days[0].first, days[0].counted, days[0].failed, days[0].in_scope) == (first, 1, 2, True)
    assert (days[-1].last, len(days) <= data._MAX_BARS) == (NEXT_DAY, True)
    assert sum((day.last - day.first).days + 1 for day in days) == num_days


def test_a_range_of_years_has_a_bar_for_several_days(duckdb):
    old = make_video_count("gs://b/old.mp4")
    old = dataclasses.replace(old, video=make_video("gs://b/old.mp4", updated=UPDATED - datetime.timedelta(days=4000)))
    commit(duckdb, run("monday", 0), make_video_count(), old, make_failure("gs://b/c.mp4"))
    days = read_report(duckdb).days
    assert len(days) <= data._MAX_BARS
    assert (sum(day.counted for day in days), sum(day.failed for day in days)) == (2, 1)
    gaps = [later.first - earlier.last for earlier, later in itertools.pairwise(days)]
    assert set(gaps) == {datetime.timedelta(days=1)}
    assert np.all([day.first <= day.last for day in days])
