"""Rows hold the values of the records, in the schema's columns and units."""

import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pytest

from model.counting_options import CountingOptions
from model.frame_counts import Segment
from tests.support.samples import (
    STARTED,
    UTC,
    make_failure,
    make_provenance,
    make_video,
    make_video_count,
)
from transforms.records import VideoFlag
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.rows import (
    RowError,
    RunTotals,
    canonical_json,
    count_row,
    curve_row,
    failure_row,
    run_row,
    to_record_batch,
)
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, RUNS, VIDEO_COUNTS


def stored(row, table):
    """The row as it is read back from its record batch."""
    (read,) = to_record_batch(row, table).to_pylist()
    return read


def with_facts(video_count, **changes):
    return dataclasses.replace(video_count, facts=dataclasses.replace(video_count.facts, **changes))


class TestCountRow:
    def test_every_number_and_its_provenance_is_in_the_row(self):
        row = stored(
            count_row(make_video_count(flags=[VideoFlag.TRUNCATED, VideoFlag.ROTATED]), make_provenance()), VIDEO_COUNTS
        )
        assert row == {
            "video_uri": "gs://bucket/a.mp4",
            "video_generation": 1,
            "model": "lite",
            "options_hash": make_provenance().options_hash,
            "upload_date": datetime.date(2026, 1, 1),
            "video_updated": datetime.datetime(2026, 1, 1, 23, 30, tzinfo=UTC),
            "captured_at": None,
            "labels": [],
            "count": 2.5,
            "count_rounded": 3,
            "confidence": 0.5,
            "certainty": 0.9,
            "flags": ["TRUNCATED", "ROTATED"],
            "stride": 2,
            "stride_scores": [{"stride": 1, "score": 0.25}, {"stride": 2, "score": 0.5}],
            "mean_period_sec": pytest.approx(2.0),
            "mean_rate_hz": pytest.approx(0.5),
            "segments": [{"start_sec": 2.5, "end_sec": 7.5, "count": 2.5}],
            "repetition_times_sec": [pytest.approx(4.5), pytest.approx(6.5)],
            "duration_sec": 10.0,
            "first_frame_sec": 0.0,
            "fps": 10.0,
            "decoded_frames": 100,
            "scored_frames": 100,
            "width": 640,
            "height": 360,
            "codec": "h264",
            "rotation_degrees": 0,
            "size_bytes": 12_345,
            "run_id": "run-1",
            "run_started": STARTED,
            "model_sha256": "ab" * 32,
            "options_json": '{"stride_rule":"real_frames","video_threshold":0.2}',
            "code_version": "0.1.0",
            "precision": "float32",
        }

    @pytest.mark.parametrize(
        ("declared", "stored_as"),
        [
            ("2025-12-31T10:00:00.250000", "2025-12-31T10:00:00.250000"),
            ("2026-01-02T23:00:00", "2026-01-02T23:00:00"),  # less than a day after the upload: a clock of another zone
            ("2026-01-03T00:00:00", None),
            ("9999-12-31T00:00:00", None),
            ("1990-01-01T00:00:00", "1990-01-01T00:00:00"),
            ("1989-12-31T23:59:59", None),
            ("1970-01-01T00:00:01", None),
        ],
    )
    def test_an_absurd_time_of_recording_is_null(self, declared, stored_as):
        declared_sec = datetime.datetime.fromisoformat(declared).replace(tzinfo=UTC).timestamp()
        row = stored(count_row(make_video_count(captured_sec=declared_sec), make_provenance()), VIDEO_COUNTS)
        expected = datetime.datetime.fromisoformat(stored_as).replace(tzinfo=UTC) if stored_as else None
        assert row["captured_at"] == expected

    @pytest.mark.parametrize("captured_sec", [0.0, 1e300, 253402300800.0])
    def test_no_time_of_recording_makes_a_row_fail(self, captured_sec):
        assert count_row(make_video_count(captured_sec=captured_sec), make_provenance())["captured_at"] is None

    def test_a_video_uploaded_at_the_end_of_time_has_a_row(self):
        video = make_video(updated=datetime.datetime.max.replace(tzinfo=UTC))
        counted = dataclasses.replace(make_video_count(captured_sec=253402300800.0), video=video)
        assert count_row(counted, make_provenance())["captured_at"] is None

    def test_labels_are_in_the_rows_of_counts_and_failures_and_not_in_the_hash_of_the_options(self):
        provenance = make_provenance(name_labels=NameLabels("(?P<user>[^/]+)/"))
        labels = [{"name": "user", "value": "ann"}]
        assert stored(count_row(make_video_count("gs://gym/ann/1.mp4"), provenance), VIDEO_COUNTS)["labels"] == labels
        assert stored(failure_row(make_failure("gs://gym/ann/1.mp4"), provenance), FAILURES)["labels"] == labels
        assert provenance.options_hash == make_provenance().options_hash

    def test_times_follow_the_presentation_times_of_uneven_frames(self):
        video_count = make_video_count(
            num_frames=4,
            is_periodic=np.array([False, True, True, True]),
            per_frame_count=np.array([0.0, 0.5, 0.5, 0.5]),
            period_frames_curve=np.full(4, 2.0),
            segments=(Segment(1, 4, 1.5),),
            repetition_frames=np.array([3.0]),
            count=1.5,
        )
        video_count = with_facts(dataclasses.replace(video_count, times_sec=np.array([0.0, 1.0, 2.5, 3.5])), duration_sec=5.0)
        row = count_row(video_count, make_provenance())
        assert row["segments"] == [{"start_sec": 1.0, "end_sec": 5.0, "count": 1.5}]
        assert row["repetition_times_sec"].tolist() == [3.5]
        assert row["mean_period_sec"] == pytest.approx((5.0 - 1.0) / 1.5)

    def test_frames_that_were_scored_are_fewer_than_those_decoded(self):
        row = count_row(with_facts(make_video_count(num_frames=100), decoded_frames=200), make_provenance())
        assert (row["decoded_frames"], row["scored_frames"]) == (200, 100)

    def test_a_video_without_repetition_has_no_period_and_no_rate(self):
        row = stored(
            count_row(
                make_video_count(
                    count=0.0,
                    is_periodic=np.zeros(100, bool),
                    per_frame_count=np.zeros(100),
                    segments=(),
                    repetition_frames=np.zeros(0),
                    flags=[VideoFlag.NOT_PERIODIC],
                ),
                make_provenance(),
            ),
            VIDEO_COUNTS,
        )
        assert (row["count"], row["count_rounded"], row["mean_period_sec"], row["mean_rate_hz"]) == (0.0, 0, None, None)
        assert (row["segments"], row["repetition_times_sec"]) == ([], [])

    @pytest.mark.parametrize("unknown", [np.nan, np.inf, -np.inf])
    def test_unknown_and_infinite_values_are_null(self, unknown):
        video_count = with_facts(make_video_count(stride_scores={1: unknown}), fps=unknown, codec="")
        row = stored(count_row(video_count, make_provenance()), VIDEO_COUNTS)
        assert (row["fps"], row["codec"], row["stride_scores"]) == (None, None, [{"stride": 1, "score": None}])

    def test_the_upload_date_is_in_utc(self):
        east = datetime.timezone(datetime.timedelta(hours=9))
        video = make_video(updated=datetime.datetime(2026, 1, 2, 3, 0, tzinfo=east))
        row = count_row(dataclasses.replace(make_video_count(), video=video), make_provenance())
        assert (row["upload_date"], row["video_updated"].hour) == (datetime.date(2026, 1, 1), 18)

    @pytest.mark.parametrize("count", [np.nan, np.inf])
    def test_a_count_that_is_not_finite_is_refused(self, count):
        with pytest.raises(RowError, match=r"video_counts\.count must be a finite number\. Received: (nan|inf)"):
            count_row(make_video_count(count=count), make_provenance())

    def test_a_curve_that_does_not_fit_its_times_is_refused(self):
        video_count = dataclasses.replace(make_video_count(), times_sec=np.arange(99) / 10)
        for make_row in (count_row, curve_row):
            with pytest.raises(RowError, match="Received: 100 values and 99 times"):
                make_row(video_count, make_provenance())


class TestCurveRow:
    def test_points_are_the_curve_in_seconds(self):
        row = stored(curve_row(make_video_count(), make_provenance()), FRAME_CURVES)
        points = row["points"]
        assert len(points) == 100
        assert points[10] == {
            "frame": 10,
            "time_sec": 1.0,
            "count": 0.0,
            "rate_hz": 0.0,
            "periodicity": 0.0,
            "period_sec": None,
        }
        assert points[50] == {
            "frame": 50,
            "time_sec": 5.0,
            "count": pytest.approx(26 / 20),
            "rate_hz": pytest.approx(0.5),
            "periodicity": 1.0,
            "period_sec": pytest.approx(2.0),
        }
        assert points[99]["count"] == pytest.approx(2.5)

    def test_a_period_is_the_duration_of_its_frames_around_the_frame_even_at_the_ends(self):
        every = np.ones(6, bool)
        video_count = make_video_count(
            num_frames=6,
            is_periodic=every,
            per_frame_count=every / 3,
            period_frames_curve=np.full(6, 3.0),
            segments=(),
            repetition_frames=np.zeros(0),
        )
        times_sec = np.array([0.0, 1.0, 2.0, 3.0, 5.0, 7.0])
        video_count = with_facts(dataclasses.replace(video_count, times_sec=times_sec), duration_sec=9.0)
        points = stored(curve_row(video_count, make_provenance()), FRAME_CURVES)["points"]
        assert [point["period_sec"] for point in points] == [3.0, 3.0, 4.0, 5.0, 6.0, 6.0]
        assert points[5]["rate_hz"] == pytest.approx(1 / 6)

    def test_a_period_longer_than_the_video_is_extrapolated(self):
        points = stored(
            curve_row(make_video_count(num_frames=4, period=8, segments=(), repetition_frames=np.zeros(0)), make_provenance()),
            FRAME_CURVES,
        )["points"]
        assert points[2]["period_sec"] == pytest.approx(0.8)

    def test_a_single_frame_makes_a_row(self):
        video_count = with_facts(
            make_video_count(num_frames=1, segments=(), repetition_frames=np.zeros(0), count=0.0), fps=np.nan, duration_sec=0.0
        )
        (point,) = stored(curve_row(video_count, make_provenance()), FRAME_CURVES)["points"]
        assert (point["time_sec"], point["rate_hz"], point["period_sec"]) == (0.0, 0.0, None)
        assert stored(count_row(video_count, make_provenance()), VIDEO_COUNTS)["fps"] is None

    def test_the_curve_of_an_hour_is_one_arrow_array(self):
        row = curve_row(make_video_count(num_frames=108_000, fps=30.0), make_provenance())
        assert isinstance(row["points"], pa.StructArray)  # 0.02 s; a dictionary per point would take 1.5 s
        assert to_record_batch(row, FRAME_CURVES).nbytes < 108_000 * 50


def test_a_failure_has_its_stage_code_and_message():
    row = stored(failure_row(make_failure(), make_provenance()), FAILURES)
    assert (row["video_uri"], row["stage"], row["code"], row["message"]) == (
        "gs://bucket/a.mp4",
        "decode",
        "NOT_A_VIDEO",
        "no video stream",
    )
    assert (row["upload_date"], row["size_bytes"], row["run_id"]) == (datetime.date(2026, 1, 1), 12_345, "run-1")


def test_a_run_has_the_totals_of_its_videos():
    totals = RunTotals(listed=4, counted=2, failed=1, skipped=1, scored_frames=200, video_sec=20.0)
    ended = STARTED + datetime.timedelta(seconds=30)
    row = stored(run_row(totals, make_provenance(), ended), RUNS)
    assert [row[name] for name in ("listed", "counted", "failed", "skipped", "scored_frames")] == [4, 2, 1, 1, 200]
    assert row["run_ended"] - row["run_started"] == datetime.timedelta(seconds=30)
    assert row["options_hash"] == make_provenance().options_hash


def test_a_run_has_the_upload_dates_of_its_rows_in_order():
    days = [datetime.date(2026, 1, day) for day in (3, 1, 2)]
    row = stored(run_row(RunTotals(3, 3, 0, 0, 300, 30.0), make_provenance(), STARTED, days), RUNS)
    assert (row["first_upload_date"], row["last_upload_date"]) == (days[1], days[0])
    assert row["upload_dates"] == sorted(days)


@pytest.mark.parametrize(("listed", "balanced"), [(4, True), (5, False), (3, False)])
def test_totals_know_whether_every_video_is_accounted_for(listed, balanced):
    assert RunTotals(listed, 2, 1, 1, 0, 0.0).is_balanced is balanced


@pytest.mark.parametrize(
    "uri", ['it\'s "quoted"; DROP TABLE runs; --.mp4', "naïve 日本 😀\n\x00.mp4", "bytes \udcff\udcfe.mp4", "\ud800"]
)
def test_any_file_name_makes_a_valid_row(uri):
    kept = uri.encode("utf-8", "backslashreplace").decode()
    for row, table in (
        (count_row(make_video_count(uri), make_provenance()), VIDEO_COUNTS),
        (curve_row(make_video_count(uri), make_provenance()), FRAME_CURVES),
        (failure_row(make_failure(uri, message=f"cannot read {uri}"), make_provenance()), FAILURES),
    ):
        assert stored(row, table)["video_uri"] == kept


class TestValidation:
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("video_uri", None),
            ("video_uri", b"bytes"),
            ("video_generation", 2**63),
            ("video_generation", 1.5),
            ("stride", "2"),
            ("confidence", np.nan),
            ("confidence", None),
            ("confidence", "high"),
            ("upload_date", "2026-01-01"),
            ("run_started", datetime.datetime(2026, 1, 1)),
            ("run_started", None),
            ("flags", None),
            ("flags", [None]),
            ("flags", [1]),
            ("repetition_times_sec", [1.0, np.nan]),
            ("repetition_times_sec", 1.0),
            ("segments", [1.0]),
            ("segments", pa.array([{"start_sec": 1.0}])),
        ],
    )
    def test_a_value_that_does_not_fit_is_refused_with_the_name_of_its_column(self, column, value):
        row = count_row(make_video_count(), make_provenance())
        with pytest.raises(RowError, match=rf"video_counts\.{column} must be .*Received: "):
            to_record_batch({**row, column: value}, VIDEO_COUNTS)

    def test_a_row_has_exactly_the_columns_of_its_table(self):
        row = count_row(make_video_count(), make_provenance())
        del row["stride"]
        with pytest.raises(RowError, match=r"without \['stride'\], with \['strides'\]"):
            to_record_batch({**row, "strides": 2}, VIDEO_COUNTS)


class TestProvenance:
    @pytest.mark.parametrize("run_id", ["", "a/b", "../a", ".hidden", "a b", "x" * 129])
    def test_a_run_id_must_be_usable_in_file_names(self, run_id):
        with pytest.raises(ValueError, match=r"run_id must be .*Received: "):
            make_provenance(run_id)

    def test_a_start_without_time_zone_is_refused(self):
        with pytest.raises(ValueError, match=r"run_started must have a time zone\. Received: "):
            make_provenance(started=datetime.datetime(2026, 1, 1))

    def test_equal_options_have_one_hash_and_others_another(self):
        def hash_of(options):
            return make_provenance(options_json=canonical_json(options)).options_hash

        options = dataclasses.asdict(CountingOptions())
        assert hash_of(options) == hash_of(dict(reversed(options.items())))
        assert hash_of(options) != hash_of({**options, "median_filter": False})
        assert len(hash_of(options)) == 16

    def test_options_that_json_does_not_know_are_refused(self):
        with pytest.raises(ValueError, match="not JSON compliant"):
            canonical_json({"threshold": float("nan")})
