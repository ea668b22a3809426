"""Tables keep the same promises in DuckDB and in BigQuery."""

import dataclasses
import datetime

import numpy as np
import pyarrow as pa
import pytest

from model.frame_counts import Segment
from tests.support.samples import STARTED, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import (
    ENDED,
    KINDS,
    commit,
    contents,
    later_run,
    make_warehouse,
    num_rows,
    read,
    stage,
    stage_listing,
)
from transforms.failure_codes import FailureCode
from transforms.records import Selection, SelectionTotals, Slice, VideoResult, slice_hash, slice_number
from transforms.warehouse import base, rows
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.rows import RunTotals
from transforms.warehouse.schema import SERVER_SUFFIX, VIDEO_COUNTS


@pytest.fixture(params=KINDS)
def warehouse(request):
    """Empty tables."""
    warehouse = make_warehouse(request.param, request)
    warehouse.prepare()
    return warehouse


@pytest.fixture
def filled(warehouse):
    """Tables with a count of gs://b/1 and failures of gs://b/2 and gs://b/3."""
    unreadable = make_failure("gs://b/3", code=FailureCode.READ_ERROR)
    commit(warehouse, make_provenance("before"), make_video_count("gs://b/1"), make_failure("gs://b/2"), unreadable)
    return warehouse


def test_counts_curves_failures_and_the_run_are_in_the_tables(warehouse):
    assert warehouse.run_totals("run-1") is None
    outcomes = (make_video_count("gs://b/1"), make_video_count("gs://b/2"), make_failure("gs://b/3"))
    totals = commit(warehouse, make_provenance(), *outcomes, listed=5, skipped=2)
    assert totals == RunTotals(listed=5, counted=2, failed=1, skipped=2, scored_frames=200, video_sec=20.0)
    assert warehouse.run_totals("run-1") == totals
    assert num_rows(warehouse) == {"video_counts": 2, "frame_curves": 2, "failures": 1, "runs": 1}
    assert warehouse.run_results("run-1", limit=10) == [
        VideoResult("gs://b/1", 2.5, 0.5, 10.0, (), None, None),
        VideoResult("gs://b/2", 2.5, 0.5, 10.0, (), None, None),
        VideoResult("gs://b/3", None, None, None, (), "NOT_A_VIDEO", "no video stream"),
    ]
    assert len(warehouse.run_results("run-1", limit=2)) == 2
    assert warehouse.num_run_results("run-1") == 3
    points = read(warehouse, "frame, count", "frame_curve_points", "WHERE video_uri = 'gs://b/1' AND frame = 50")
    assert points == [(50, pytest.approx(1.3))]
    assert read(warehouse, "counted, failed", "daily_summary") == [(2, 1)]
    assert read(warehouse, "run_started, run_ended", "runs") == [(STARTED, ENDED)]


def on_day(days, outcome):
    """Returns an outcome whose video was uploaded so many days later."""
    video = dataclasses.replace(outcome.video, updated=outcome.video.updated + datetime.timedelta(days))
    return dataclasses.replace(outcome, video=video)


def test_results_are_read_on_the_upload_dates_of_the_run_and_not_between_them(warehouse, monkeypatch):
    outcomes = [on_day(0, make_video_count("gs://b/1")), on_day(400, make_video_count("gs://b/2"))]
    commit(warehouse, make_provenance(), *outcomes, on_day(900, make_failure("gs://b/3")))
    asked, query = [], type(warehouse).query
    monkeypatch.setattr(
        type(warehouse), "query", lambda self, *words: (asked.append(words[1].get("dates")), query(self, *words))[1]
    )
    assert [result.uri for result in warehouse.run_results("run-1", limit=10)] == ["gs://b/1", "gs://b/2", "gs://b/3"]
    assert warehouse.num_run_results("run-1") == 3
    first = outcomes[0].video.updated.date()
    days = [first + datetime.timedelta(day) for day in (0, 400, 900)]
    assert [dates for dates in asked if dates] == [days, days]


def test_results_of_a_run_that_did_not_note_its_upload_dates_are_found(warehouse, monkeypatch):
    outcomes = [on_day(0, make_video_count("gs://b/1")), on_day(3, make_failure("gs://b/2"))]
    with monkeypatch.context() as older:
        older.setattr(base, "run_row", lambda *values: rows.run_row(*values) | {"upload_dates": []})
        commit(warehouse, make_provenance(), *outcomes)
    assert [result.uri for result in warehouse.run_results("run-1", limit=10)] == ["gs://b/1", "gs://b/2"]
    assert warehouse.num_run_results("run-1") == 2


def test_a_run_without_a_video_leaves_its_row(warehouse):
    assert commit(warehouse, make_provenance()) == RunTotals(0, 0, 0, 0, 0, 0.0)
    assert num_rows(warehouse) == {"video_counts": 0, "frame_curves": 0, "failures": 0, "runs": 1}
    assert warehouse.run_results("run-1", limit=10) == []
    assert warehouse.num_run_results("run-1") == 0


def test_committing_the_same_files_again_changes_nothing(warehouse):
    provenance = make_provenance()
    files = stage(warehouse, provenance, make_video_count("gs://b/1"), make_failure("gs://b/2"))
    first = commit(warehouse, provenance, files=files, listed=2)
    before = contents(warehouse)
    later = ENDED + datetime.timedelta(minutes=1)
    assert warehouse.commit(provenance, files, listed=2, skipped=0, run_ended=later) == first
    assert contents(warehouse) == before


def test_a_later_run_replaces_rows_and_an_earlier_one_does_not(warehouse):
    early, late = make_provenance("early"), later_run("late")
    commit(warehouse, late, make_video_count("gs://b/1", confidence=0.75), make_failure("gs://b/2", message="late"))
    commit(warehouse, early, make_video_count("gs://b/1"), make_failure("gs://b/2", message="early"))
    assert read(warehouse, "run_id, confidence", "video_counts") == [("late", 0.75)]
    assert read(warehouse, "run_id", "frame_curves") == [("late",)]
    assert read(warehouse, "run_id, message", "failures") == [("late", "late")]
    commit(warehouse, later_run("last", hours=2), make_video_count("gs://b/1"), make_failure("gs://b/2", message="last"))
    assert read(warehouse, "run_id, confidence", "video_counts") == [("last", 0.5)]
    assert read(warehouse, "run_id, message", "failures") == [("last", "last")]
    assert num_rows(warehouse)["runs"] == 3


def test_a_count_deletes_the_failure_of_its_video_and_a_failure_never_replaces_a_count(filled):
    commit(filled, later_run("second"), make_failure("gs://b/1"), make_video_count("gs://b/2"))
    assert read(filled, "video_uri, run_id", "video_counts") == [("gs://b/1", "before"), ("gs://b/2", "second")]
    assert read(filled, "video_uri", "failures") == [("gs://b/3",)]
    assert filled.run_totals("second").failed == 1
    assert [result.uri for result in filled.run_results("second", limit=10)] == ["gs://b/2"]
    assert filled.num_run_results("second") == 1


def test_failures_that_no_table_has_are_logged(filled, caplog, monkeypatch):
    monkeypatch.setattr(base, "MAX_NAMED_FAILURES", 2)
    names = [f"gs://b/{name}" for name in ("1", "new\nline", "x", "y")]
    commit(filled, later_run("second"), *map(make_video_count, names))
    caplog.clear()
    failures = [make_failure(name, message="line\nbreak") for name in names]
    commit(
        filled,
        later_run("third", hours=2),
        *failures,
        failures[0],
        make_failure("gs://b/2"),
        on_day(400, make_failure("gs://b/9")),
    )
    what = "A failure is in no table, since its video keeps a count."
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"{what} 'gs://b/1': NOT_A_VIDEO line\N{REPLACEMENT CHARACTER}break",
        f"{what} 'gs://b/new\\nline': NOT_A_VIDEO line\N{REPLACEMENT CHARACTER}break",
        "Failures of videos that keep a count: and 2 more",
    ]
    assert read(filled, "video_uri", "failures") == [("gs://b/2",), ("gs://b/3",), ("gs://b/9",)]


@pytest.mark.parametrize(
    ("generation", "changes"),
    [(2, {}), (1, {"model": "repnet-2025"}), (1, {"options_json": "{}"})],
    ids=["version", "model", "options"],
)
def test_another_version_model_or_options_is_another_row(filled, generation, changes):
    commit(filled, later_run("second", **changes), make_video_count("gs://b/1", generation), make_failure("gs://b/3", 2))
    assert num_rows(filled) == {"video_counts": 2, "frame_curves": 2, "failures": 3, "runs": 2}


def test_a_row_that_is_staged_twice_is_one_row(warehouse):
    commit(
        warehouse, make_provenance(), make_video_count(), make_video_count(), make_failure("gs://b/2"), make_failure("gs://b/2")
    )
    assert num_rows(warehouse) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 1}


def test_any_name_is_stored_unchanged(warehouse):
    names = ['gs://b/it\'s "x"; DROP TABLE runs; --', "gs://b/naïve 日本 😀\n\t`", "gs://b/$paths @run_id {dataset} %s ?"]
    provenance = make_provenance(model="it's `mine`; --")
    commit(warehouse, provenance, *map(make_video_count, names), make_failure("gs://b/x", message=names[0]))
    assert read(warehouse, "video_uri, model", "video_counts") == sorted(((name, provenance.model) for name in names), key=repr)
    assert read(warehouse, "message", "failures") == [(names[0],)]
    provenance = later_run("now", model=provenance.model)
    totals, _ = warehouse.select(provenance, stage_listing(warehouse, provenance, map_videos(names)), Selection())
    assert totals == SelectionTotals(listed=3, skipped=3, left=0)
    assert warehouse.delete_videos(names[:1], None, dry_run=False)["video_counts"] == 1
    assert len(read(warehouse, "video_uri", "video_counts")) == 2


def map_videos(names):
    return [make_video(name) for name in names]


def test_files_with_fewer_rows_than_were_written_commit_nothing(warehouse):
    provenance = make_provenance()
    *files, failures = stage(warehouse, provenance, make_video_count("gs://b/1"), make_failure("gs://b/2"))
    lost = type(failures)(failures.table, failures.path, 2, failures.num_bytes)
    with pytest.raises(WarehouseError, match=r"files staged for failures must hold the 2 rows .*Received: 1"):
        commit(warehouse, provenance, files=[*files, lost])
    assert set(num_rows(warehouse).values()) == {0}


def test_a_count_without_its_curve_commits_nothing(warehouse):
    provenance = make_provenance()
    files = [file for file in stage(warehouse, provenance, make_video_count()) if file.table == "video_counts"]
    with pytest.raises(WarehouseError, match="every staged count must have a curve"):
        commit(warehouse, provenance, files=files)
    assert set(num_rows(warehouse).values()) == {0}


class TestSelection:
    VIDEOS = map_videos(f"gs://b/{number}" for number in (1, 2, 3, 4, 5))

    def select(self, warehouse, videos=None, provenance=None, **options):
        provenance = provenance or later_run("now")
        files = stage_listing(warehouse, provenance, videos or self.VIDEOS)
        totals, videos = warehouse.select(provenance, files, Selection(**options))
        names = sorted(video.uri.removeprefix("gs://b/") for video in videos)
        warehouse.remove_staging(provenance.run_id)
        return "".join(names), (totals.listed, totals.skipped, totals.left)

    def test_videos_with_a_count_or_a_failure_are_skipped(self, filled):
        assert self.select(filled) == ("45", (5, 3, 0))

    @pytest.mark.parametrize("code", [FailureCode.GONE, FailureCode.NOT_DELIVERED])
    def test_a_listed_video_that_was_gone_or_not_delivered_is_taken_again(self, filled, code):
        commit(filled, later_run("then"), make_failure("gs://b/4", code=code))
        assert self.select(filled) == ("45", (5, 3, 0))

    def test_videos_listed_twice_are_taken_once(self, filled):
        assert self.select(filled, self.VIDEOS + self.VIDEOS, later_run("again")) == ("45", (5, 3, 0))

    def test_mode_requeue_limit_model_and_options_are_respected(self, filled):
        assert self.select(filled, provenance=later_run("a"), requeue=("READ_ERROR", "EMPTY_FILE")) == ("345", (5, 2, 0))
        assert self.select(filled, provenance=later_run("b"), new_only=False) == ("12345", (5, 0, 0))
        assert self.select(filled, provenance=later_run("c"), limit=1) == ("4", (5, 3, 1))
        assert self.select(filled, provenance=later_run("d", model="repnet-2025")) == ("12345", (5, 0, 0))
        assert self.select(filled, provenance=later_run("e", options_json="{}")) == ("12345", (5, 0, 0))

    def test_a_new_version_of_a_video_is_new(self, filled):
        assert self.select(filled, [make_video("gs://b/1", 2), make_video("gs://b/2", 2)]) == ("12", (2, 0, 0))

    def test_durations_are_read_of_videos_to_count_that_another_model_has_counted(self, filled):
        for model in ("repnet-2020", "repnet-2025"):
            commit(filled, later_run(model, model=model), make_video_count("gs://b/1"), make_video_count("gs://b/4"))
        files = stage_listing(filled, later_run("now"), self.VIDEOS)
        assert list(filled.durations(later_run("now"), files, Selection())) == [("gs://b/4", 1, 10.0)]
        found = filled.durations(later_run("now"), files, Selection(new_only=False))
        assert sorted(found) == [("gs://b/1", 1, 10.0), ("gs://b/4", 1, 10.0)]

    def test_a_limit_takes_the_oldest_uploads(self, warehouse):
        videos = [
            make_video(f"gs://b/{number}", updated=STARTED - datetime.timedelta(days=day))
            for number, day in enumerate((1, 40, 3, 400))
        ]
        assert self.select(warehouse, videos, limit=2) == ("13", (4, 0, 2))

    def test_each_video_is_listed_skipped_or_selected_in_exactly_one_slice(self, filled):
        parts = [Slice(number, 3) for number in (1, 2, 3)]
        found = [self.select(filled, provenance=later_run(f"run-{part.number}"), part=part) for part in parts]
        assert sorted("".join(names for names, _ in found)) == ["4", "5"]
        assert tuple(map(sum, zip(*(totals for _, totals in found), strict=True))) == (5, 3, 0)
        expected = [sum(slice_number(slice_hash(video), 3) == part.number for video in self.VIDEOS) for part in parts]
        assert [totals[0] for _, totals in found] == expected


class TestDeleteVideos:
    def test_all_versions_of_a_video_are_deleted(self, filled):
        commit(filled, later_run("second"), make_video_count("gs://b/1", 2), make_video_count("gs://b/9"))
        assert filled.delete_videos(["gs://b/1", "gs://b/2"], None, dry_run=True) == {
            "video_counts": 2,
            "frame_curves": 2,
            "failures": 1,
        }
        assert num_rows(filled)["video_counts"] == 3
        assert filled.delete_videos(["gs://b/1", "gs://b/2"], None, dry_run=False)["video_counts"] == 2
        assert num_rows(filled) == {"video_counts": 1, "frame_curves": 1, "failures": 1, "runs": 2}

    def test_old_uploads_are_deleted(self, filled):
        late = make_failure("gs://b/late", updated=STARTED + datetime.timedelta(days=10))
        commit(filled, later_run("second"), late)
        day = (STARTED + datetime.timedelta(days=10)).date()
        assert filled.delete_videos([], day, dry_run=False) == {"video_counts": 1, "frame_curves": 1, "failures": 2}
        assert num_rows(filled) == {"video_counts": 0, "frame_curves": 0, "failures": 1, "runs": 2}


def test_remove_staging_leaves_nothing_staged(filled):
    provenance = later_run("now")
    stage_listing(filled, provenance, TestSelection.VIDEOS)
    filled.remove_staging("now")
    filled.remove_staging("before")
    filled.remove_staging("never")
    assert filled.changes() == []
    assert len(contents(filled)["runs"]) == 1


@pytest.mark.usefixtures("cloud")
@pytest.mark.slow
def test_the_same_runs_leave_the_same_rows_in_duckdb_and_bigquery(request):
    found = []
    for kind in ("duckdb", "bigquery"):
        warehouse = make_warehouse(kind, request)
        warehouse.prepare()
        flagged = make_video_count("gs://b/5", num_frames=37, fps=29.97, count=0.0, flags=())
        commit(warehouse, make_provenance("first"), make_video_count("gs://b/1"), make_failure("gs://b/2"), flagged)
        commit(warehouse, later_run("second"), make_video_count("gs://b/2"), make_failure("gs://b/3"), listed=4, skipped=2)
        found.append(contents(warehouse))
    duckdb_rows, bigquery_rows = found
    assert [len(rows) for rows in duckdb_rows.values()] == [3, 3, 1, 2]
    assert bigquery_rows == duckdb_rows


class TestRead:
    """Pages and exports read tables and views by one query for both databases."""

    def test_rows_come_with_the_same_types_from_both_databases(self, filled):
        query = (
            "SELECT video_uri, upload_date, video_updated, count, flags, stride_scores, segments, 1 AS one, 0.5 AS half, "
            "SUM(count_rounded) OVER () AS total FROM {dataset}latest_video_counts WHERE video_uri = {uri} AND count > {least} "
            "AND upload_date IN {dates} AND video_updated < {now} AND TRUE = {yes}"
        )
        date = datetime.date(2026, 1, 1)
        now = datetime.datetime(2027, 1, 1, tzinfo=datetime.UTC)
        parameters = {"uri": "gs://b/1", "least": 0.5, "dates": [date], "now": now, "yes": True}
        (batch,) = filled.read(query, parameters)
        (row,) = batch.to_pylist()
        assert (row["video_uri"], row["count"], row["one"], row["half"], row["total"]) == ("gs://b/1", 2.5, 1, 0.5, 3)
        assert (row["upload_date"], row["video_updated"]) == (date, make_video().updated)
        columns = {column.name: column.arrow_type for column in VIDEO_COUNTS.columns}
        expected = {name: columns[name] for name in batch.schema.names if name in columns}
        expected |= {"one": pa.int64(), "half": pa.float64(), "total": pa.int64()}
        assert dict(zip(batch.schema.names, batch.schema.types, strict=True)) == expected
        assert list(filled.read_rows(query, parameters)) == [row]

    def test_a_query_without_a_row_tells_its_columns(self, filled):
        (batch,) = filled.read("SELECT run_id, listed FROM {dataset}runs WHERE run_id = {run_id}", {"run_id": "none"})
        assert (batch.num_rows, batch.schema.names) == (0, ["run_id", "listed"])
        assert batch.schema.types == [pa.string(), pa.int64()]

    def test_a_value_is_never_part_of_the_query(self, filled):
        evil = "' OR TRUE; DROP TABLE runs; -- {dataset} $uri @uri"
        query = "SELECT video_uri FROM {dataset}video_counts WHERE video_uri = {uri}"
        assert list(filled.read_rows(query, {"uri": evil})) == []
        assert num_rows(filled)["runs"] == 1

    def test_a_query_that_the_database_refuses_is_one_line(self, filled):
        with pytest.raises(WarehouseError) as caught:
            list(filled.read("SELECT no_such_column FROM {dataset}runs"))
        assert "no_such_column" in str(caught.value)
        assert "\n" not in str(caught.value)

    def test_missing_tables_are_one_line(self, request):
        for kind in ("duckdb", "bigquery"):
            empty = make_warehouse(kind, request)
            with pytest.raises(WarehouseError) as caught:
                list(empty.read("SELECT 1 FROM {dataset}runs"))
            assert "\n" not in str(caught.value)

    def test_a_reader_that_stops_early_leaves_the_tables_free(self, filled):
        rows = filled.read_rows("SELECT video_uri FROM {dataset}failures ORDER BY video_uri")
        assert next(rows) == {"video_uri": "gs://b/2"}
        rows.close()
        commit(filled, later_run("second"), make_video_count("gs://b/9"))
        assert num_rows(filled)["runs"] == 2


def test_the_pace_is_that_of_runs_which_counted_and_not_of_a_servers_commits(filled):
    earlier = filled.earlier_runs("lite")
    assert (earlier.run_video_sec, earlier.run_wall_sec) == (10.0, (ENDED - STARTED).total_seconds())
    commit(filled, later_run(f"answers{SERVER_SUFFIX}"), make_video_count("gs://b/9"))
    commit(filled, later_run("nothing-new"))
    later = filled.earlier_runs("lite")
    assert (later.run_video_sec, later.run_wall_sec) == (earlier.run_video_sec, earlier.run_wall_sec)
    commit(filled, later_run("second"), make_video_count("gs://b/8"))
    assert filled.earlier_runs("lite").run_video_sec == 2 * earlier.run_video_sec > 0
    other = filled.earlier_runs("repnet-2025")
    assert (other.run_video_sec, other.run_wall_sec) == (0.0, 0.0)
    assert (other.num_videos, other.bytes_per_sec) == ({13: 3}, {13: 1234.5})


def test_times_of_recording_and_labels_are_in_tables_and_views(warehouse):
    provenance = make_provenance(name_labels=NameLabels("(?P<user>[^/]+)/(?P<exercise>[^/]+)/"))
    recorded = datetime.datetime(2025, 12, 31, 10, tzinfo=datetime.UTC)
    uri = "gs://b/ann/squats/1.mp4"
    outcomes = [make_video_count(uri, captured_sec=recorded.timestamp()), make_video_count("gs://b/loose")]
    commit(warehouse, provenance, *outcomes, make_failure("gs://b/bob/rows/2.mp4"))
    labels = [{"name": "user", "value": "ann"}, {"name": "exercise", "value": "squats"}]
    query = "SELECT DISTINCT captured_at FROM {dataset}NAME WHERE video_uri = {uri}"
    for name in ("video_counts", "latest_video_counts", "sets", "repetitions"):
        assert list(warehouse.read_rows(query.replace("NAME", name), {"uri": uri})) == [{"captured_at": recorded}]
        rows_read = warehouse.read_rows("SELECT labels FROM {dataset}" + name + " WHERE video_uri = {uri}", {"uri": uri})
        assert next(rows_read) == {"labels": labels}
        rows_read.close()
    (loose,) = warehouse.read_rows("SELECT captured_at, labels FROM {dataset}sets WHERE video_uri = {u}", {"u": "gs://b/loose"})
    assert loose == {"captured_at": None, "labels": []}
    (failed,) = warehouse.read_rows("SELECT labels FROM {dataset}failures")
    assert failed["labels"] == [{"name": "user", "value": "bob"}, {"name": "exercise", "value": "rows"}]


class TestViews:
    """Views answer the same in both databases, where windows and unnested lists are spelled differently."""

    TWO_SETS = make_video_count(
        "gs://b/sets",
        count=4.5,
        segments=(Segment(10, 30, 2.0), Segment(60, 80, 2.5)),
        repetition_frames=np.array([20.0, 30.0, 68.0, 76.0, 80.0]),
    )

    def test_sets_and_repetitions_have_a_row_each(self, warehouse):
        nothing = make_video_count("gs://b/zero", count=0.0, certainty=None, segments=(), repetition_frames=np.array([]))
        commit(warehouse, make_provenance("old", model="other"), make_video_count("gs://b/sets"))
        commit(warehouse, later_run("new"), self.TWO_SETS, make_video_count("gs://b/one"), nothing)
        columns = "set_number, start_sec, end_sec, count, rate_hz, rest_before_sec, run_id"
        assert read(warehouse, columns, "sets", "WHERE video_uri = 'gs://b/sets'") == [
            (1, 1.0, 3.0, 2.0, 1.0, None, "new"),
            (2, 6.0, 8.0, 2.5, 1.25, 3.0, "new"),
        ]
        assert read(warehouse, "video_uri, COUNT(*)", "sets", "GROUP BY video_uri") == [("gs://b/one", 1), ("gs://b/sets", 2)]
        columns = "number, set_number, number_in_set, time_sec, duration_sec, rate_hz"
        found = read(warehouse, columns, "repetitions", "WHERE video_uri = 'gs://b/sets'")
        assert found == [
            (1, 1, 1, 2.0, None, None),
            (2, 1, 2, 3.0, pytest.approx(1.0), pytest.approx(1.0)),
            (3, 2, 1, pytest.approx(6.8), None, None),
            (4, 2, 2, pytest.approx(7.6), pytest.approx(0.8), pytest.approx(1.25)),
            (5, 2, 3, 8.0, None, None),  # half of it: the count is 4.5
        ]

    def test_every_repetition_has_a_row(self, warehouse):
        early = make_video_count("gs://b/early", count=1.0, repetition_frames=np.array([25.0]))  # where its set starts
        commit(warehouse, make_provenance(), self.TWO_SETS, early)
        expected = read(warehouse, "video_uri, count_rounded", "video_counts")
        assert read(warehouse, "video_uri, COUNT(*)", "repetitions", "GROUP BY video_uri") == expected

    def test_the_review_queue_has_the_worst_counts_first_then_failures(self, warehouse):
        zero = {"count": 0.0, "certainty": None, "segments": ()}
        commit(
            warehouse,
            make_provenance(),
            make_video_count("gs://b/sure"),
            make_video_count("gs://b/unsure", certainty=0.7),
            make_video_count("gs://b/worst", certainty=0.1),
            make_video_count("gs://b/maybe", stride_scores={1: 0.4, 2: 0.1}, **zero),
            make_video_count("gs://b/still", stride_scores={1: 0.2}, **zero),
            make_failure("gs://b/text", message="no video in it"),
            make_failure("gs://b/gone", code=FailureCode.GONE),
            make_failure("gs://b/undelivered", code=FailureCode.NOT_DELIVERED, message="503"),
        )
        found = read(warehouse, "priority, video_uri, reason, message, count, certainty, best_score", "review_queue")
        assert found == [
            (1, "gs://b/worst", "UNCERTAIN", "The count may be wrong by more than one.", 2.5, 0.1, 0.5),
            (2, "gs://b/maybe", "ZERO_BUT_REPEATING", "The count is 0, but something may repeat.", 0.0, None, 0.4),
            (3, "gs://b/unsure", "UNCERTAIN", "The count may be wrong by more than one.", 2.5, 0.7, 0.5),
            (4, "gs://b/text", "NOT_A_VIDEO", "no video in it", None, None, None),
            (5, "gs://b/undelivered", "NOT_DELIVERED", "503", None, None, None),
        ]

    def test_counts_without_certainty_are_in_the_review_queue_by_their_confidence(self, warehouse):
        commit(
            warehouse,
            make_provenance(),
            make_video_count("gs://b/sure", certainty=None, confidence=0.5),
            make_video_count("gs://b/unsure", certainty=None, confidence=0.4),
            make_video_count("gs://b/worst", certainty=None, confidence=0.1, stride_scores={1: 0.1}),
            make_video_count("gs://b/certain", certainty=0.9, confidence=0.1),
            make_video_count("gs://b/likely", certainty=0.3),
            make_video_count("gs://b/zero", certainty=None, count=0.0, confidence=0.1, stride_scores={1: 0.1}, segments=()),
        )
        found = read(warehouse, "priority, video_uri, reason, message, confidence", "review_queue")
        assert found == [
            (1, "gs://b/worst", "UNCERTAIN", "The model is not sure that something repeats.", 0.1),
            (2, "gs://b/likely", "UNCERTAIN", "The count may be wrong by more than one.", 0.5),
            (3, "gs://b/unsure", "UNCERTAIN", "The model is not sure that something repeats.", 0.4),
        ]

    def test_the_review_queue_has_one_row_per_video_that_of_its_newest_version(self, warehouse):
        commit(warehouse, make_provenance("old", model="other"), make_video_count("gs://b/1", certainty=0.1))
        settled = [make_video_count("gs://b/1"), make_video_count("gs://b/2", certainty=0.5), make_failure("gs://b/3")]
        commit(warehouse, later_run("new"), *settled, make_video_count("gs://b/4", certainty=0.2))
        newer = [on_day(1, make_failure("gs://b/2", 2)), on_day(1, make_video_count("gs://b/3", 2))]
        commit(warehouse, later_run("next", hours=2), *newer, on_day(1, make_failure("gs://b/4", 2, code=FailureCode.GONE)))
        commit(warehouse, later_run("last", hours=3, model="other"), make_failure("gs://b/1"))  # has a count by another model
        found = read(warehouse, "priority, video_uri, video_generation, reason", "review_queue")
        assert found == [(1, "gs://b/4", 1, "UNCERTAIN"), (2, "gs://b/2", 2, "NOT_A_VIDEO")]

    def test_correct_zeros_do_not_lower_the_means_of_a_day(self, warehouse):
        zero = make_video_count("gs://b/0", count=0.0, confidence=0.1, certainty=None)
        commit(warehouse, make_provenance(), zero, make_video_count("gs://b/1"), make_failure("gs://b/2"))
        columns = "counted, failed, without_repetitions, mean_confidence, mean_certainty"
        assert read(warehouse, columns, "daily_summary") == [(2, 1, 1, 0.5, pytest.approx(0.9))]
