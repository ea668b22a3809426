"""The documented queries give the answers that they promise, in DuckDB and in BigQuery."""

import dataclasses
import datetime
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from model.frame_counts import Segment
from tests.support.samples import STARTED, UPDATED, UTC, make_failure, make_provenance, make_video, make_video_count
from tests.support.warehouses import make_warehouse, stage
from transforms.failure_codes import FailureCode
from transforms.records import VideoFlag
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.schema import SERVER_SUFFIX

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "queries.md").read_text(encoding="utf-8")
QUERIES = {int(number): sql for number, sql in re.findall(r"^## (\d+)\. .*?```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)}

SQUATS = "gs://gym/ann/squats.mp4"
ROWS = "gs://gym/ann/rows.mp4"
PRESS = "gs://gym/bob/press.mp4"
CURLS = "gs://gym/bob/curls.mp4"
LOOSE = "gs://gym/loose.mp4"
FIRST_DAY = datetime.date(2026, 1, 1)
SECOND_DAY = datetime.date(2026, 1, 2)
LITE = make_provenance().options_hash
NOW = datetime.datetime.now(UTC).replace(microsecond=0)

CURVE_POINTS = "SELECT upload_date, COUNT(*) AS points FROM frame_curve_points GROUP BY upload_date ORDER BY upload_date"


def commit(warehouse, run_id, *outcomes, started, took, skipped=0, **provenance):
    """Commits a run that counted and failed these videos."""
    provenance = make_provenance(run_id, started=started, **provenance)
    files = stage(warehouse, provenance, *outcomes)
    warehouse.commit(provenance, files, listed=len(outcomes) + skipped, skipped=skipped, run_ended=started + took)


def of_second_day(video_count, generation=1):
    """Returns the count with its video uploaded on the second day."""
    video = make_video(video_count.video.uri, generation, updated=UPDATED + datetime.timedelta(hours=1))
    return dataclasses.replace(video_count, video=video)


def fill(warehouse):
    """Commits two users' videos, counted by `other` and then by `lite`, recent and old failures, and a run without new videos.

    Videos have 10 frames a second and 100 frames; PRESS has 200. Their middle half repeats every 2 s, so they count 2.5, PRESS
    5, unless a count is given. ROWS was uploaded again on the second day, and PRESS for the first time then.
    """
    warehouse.prepare()
    commit(
        warehouse,
        "trial",
        make_video_count(SQUATS, count=4.0),
        make_video_count(ROWS),
        of_second_day(make_video_count(ROWS, count=3.0), generation=2),
        of_second_day(make_video_count(PRESS, num_frames=200)),
        make_video_count(CURLS, count=5.5),
        make_video_count(LOOSE, count=3.5),
        started=STARTED - datetime.timedelta(days=1),
        took=datetime.timedelta(hours=25, minutes=30),
        model="other",
    )
    squats = make_video_count(
        SQUATS,
        captured_sec=datetime.datetime(2025, 12, 28, 12, tzinfo=UTC).timestamp(),
        flags=(VideoFlag.TRUNCATED, VideoFlag.ROTATED),
        count=6.0,
        segments=(Segment(10, 30, 2.0), Segment(60, 80, 3.0), Segment(85, 95, 1.0)),
        repetition_frames=np.array([20.0, 30.0, 70.0, 75.0, 81.0, 95.0]),
    )
    nothing = make_video_count(
        CURLS,
        count=0.0,
        confidence=0.1,
        certainty=None,
        stride_scores={1: 0.4, 2: 0.1},
        segments=(),
        flags=(VideoFlag.NOT_PERIODIC,),
    )
    commit(
        warehouse,
        "first",
        squats,
        make_video_count(ROWS, count=7.0),
        of_second_day(make_video_count(ROWS, confidence=0.2, certainty=0.7), generation=2),
        of_second_day(make_video_count(PRESS, num_frames=200, confidence=0.125, certainty=0.3)),
        nothing,
        make_video_count(LOOSE),
        make_failure("gs://gym/ann/notes.mp4"),
        make_failure("gs://gym/bob/notes.mp4"),
        name_labels=NameLabels("^(?P<user>[^/]+)/"),
        started=STARTED,
        took=datetime.timedelta(minutes=2, seconds=30, milliseconds=500),
        skipped=3,
    )
    commit(
        warehouse,
        "nothing_new",
        started=STARTED + datetime.timedelta(days=1),
        took=datetime.timedelta(0),
        skipped=8,
    )
    commit(warehouse, f"answers{SERVER_SUFFIX}", started=NOW - datetime.timedelta(hours=3), took=datetime.timedelta(0))
    commit(
        warehouse,
        "tonight",
        make_failure("gs://gym/bob/a.mp4", code=FailureCode.READ_ERROR, message="503 of a"),
        make_failure("gs://gym/ann/b.mp4", code=FailureCode.READ_ERROR, message="503 of b"),
        make_failure("gs://gym/ann/text.mp4", message="no video in it"),
        started=NOW - datetime.timedelta(hours=2),
        took=datetime.timedelta(hours=1),
        skipped=8,
    )


@pytest.fixture(scope="module", params=["duckdb", "bigquery"])
def run_sql(request):
    """Returns a function that runs a query on filled tables and returns its rows as dicts."""
    warehouse = make_warehouse(request.param, request)
    fill(warehouse)
    return make_run_sql(warehouse, request)


def make_run_sql(warehouse, request):
    if not isinstance(warehouse, DuckDBWarehouse):
        return request.getfixturevalue("module_cloud" if request.scope == "module" else "cloud").rows

    def run_in_duckdb(sql):
        with duckdb.connect(warehouse.path, read_only=True) as connection:
            return connection.sql(sql).to_arrow_table().to_pylist()

    return run_in_duckdb


def near(rows):
    """Returns rows that compare equal to rows whose numbers differ in the last digits."""
    return [pytest.approx(row) for row in rows]


def named(names, *rows):
    """Returns tuples of values as dicts with these names."""
    return near([dict(zip(names.split(), row, strict=True)) for row in rows])


@pytest.mark.parametrize("kind", ["duckdb", "bigquery"])
def test_a_curve_belongs_to_the_latest_count_only(kind, request):
    warehouse = make_warehouse(kind, request)
    warehouse.prepare()
    for number, count in enumerate((4.0, 6.0)):
        commit(
            warehouse,
            f"run-{number}",
            make_video_count(SQUATS, count=count, per_frame_count=np.full(100, count / 100)),
            started=STARTED + datetime.timedelta(days=number),
            took=datetime.timedelta(minutes=1),
            options_json=f'{{"version": {number}}}',
        )
    curve = make_run_sql(warehouse, request)(QUERIES[6])
    assert [row["frame"] for row in curve] == list(range(100))
    assert curve[-1]["count"] == pytest.approx(6.0)


@pytest.mark.parametrize("kind", ["duckdb", "bigquery"])
def test_a_local_file_that_an_older_one_replaced_has_the_curve_of_its_latest_count(kind, request):
    warehouse = make_warehouse(kind, request)
    warehouse.prepare()
    uri = "/videos/ann/squats.mp4"
    older = make_video(uri, 2, updated=UPDATED - datetime.timedelta(hours=1))
    first = make_video_count(uri, count=4.0, per_frame_count=np.full(100, 0.04))
    second = make_video_count(uri, count=6.0, per_frame_count=np.full(100, 0.06))
    labels = {"name_labels": NameLabels("(?P<user>ann)"), "took": datetime.timedelta(minutes=1)}
    commit(warehouse, "first", first, started=STARTED, **labels)
    later = STARTED + datetime.timedelta(days=1)
    commit(warehouse, "second", dataclasses.replace(second, video=older), started=later, **labels)
    run_sql = make_run_sql(warehouse, request)
    assert [row["repetitions"] for row in run_sql(QUERIES[1])] == [6.0]
    assert [row["count"] for row in run_sql(QUERIES[5])] == [6.0]
    curve = run_sql(QUERIES[6].replace(SQUATS, uri))
    assert curve[-1]["count"] == pytest.approx(6.0)


@pytest.mark.parametrize("kind", ["duckdb", "bigquery"])
def test_of_two_runs_that_started_together_all_queries_take_the_same(kind, request):
    warehouse = make_warehouse(kind, request)
    warehouse.prepare()
    for run_id, count in (("a", 4.0), ("b", 6.0)):
        commit(
            warehouse,
            run_id,
            make_video_count(SQUATS, count=count, per_frame_count=np.full(100, count / 100)),
            name_labels=NameLabels("(?P<user>ann)"),
            started=STARTED,
            took=datetime.timedelta(minutes=1),
            options_json=f'{{"run": "{run_id}"}}',
        )
    run_sql = make_run_sql(warehouse, request)
    assert [row["repetitions"] for row in run_sql(QUERIES[1])] == [6.0]
    assert [row["count"] for row in run_sql(QUERIES[5])] == [6.0]
    assert run_sql(QUERIES[6])[-1]["count"] == pytest.approx(6.0)


def test_there_are_ten_queries():
    assert list(QUERIES) == list(range(1, 11))
    assert PAGE.count("```sql") == len(re.findall(r"^## \d+\. ", PAGE, re.MULTILINE)) == 10


def test_the_queries_of_the_readme_are_among_them():
    examples = re.findall(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    assert set(examples) <= set(QUERIES.values())


def test_the_answers_of_all_queries(run_sql):
    answers = {number: run_sql(sql) for number, sql in QUERIES.items()}

    assert answers[1] == named(
        "week user_name videos repetitions video_minutes",
        (datetime.date(2025, 12, 22), "ann", 1, 6.0, 10 / 60),  # recorded on the last Sunday of the year
        (datetime.date(2025, 12, 29), "ann", 1, 2.5, 10 / 60),  # uploaded on the second day, a Friday
        (datetime.date(2025, 12, 29), "bob", 2, 5.0, 30 / 60),
    )

    assert answers[2] == named(
        "set_number set_per_minute time_sec per_minute change",
        (1, 60.0, 2.0, None, None),  # 2 in 2 s
        (1, 60.0, 3.0, 60.0, None),
        (2, 90.0, 7.0, None, None),  # 3 in 2 s
        (2, 90.0, 7.5, 120.0, None),
        (2, 90.0, 8.1, 100.0, -20.0),  # in 0.6 s; where the set ended is of no account
        (3, 60.0, 9.5, None, None),  # 1 in 1 s
    )

    assert answers[3] == named(
        "video_uri sets shortest_rest_sec mean_rest_sec longest_rest_sec",
        (SQUATS, 3, 0.5, 1.75, 3.0),  # from 3 s to 6 s and from 8 s to 8.5 s
    )

    uncertain, text = "The count may be wrong by more than one.", "no video stream"
    assert answers[4] == named(
        "priority reason message video_uri count certainty best_score",
        (1, "UNCERTAIN", uncertain, PRESS, 5.0, 0.3, 0.5),
        (2, "ZERO_BUT_REPEATING", "The count is 0, but something may repeat.", CURLS, 0.0, None, 0.4),
        (3, "UNCERTAIN", uncertain, ROWS, 2.5, 0.7, 0.5),
        (4, "READ_ERROR", "503 of b", "gs://gym/ann/b.mp4", None, None, None),
        (5, "NOT_A_VIDEO", text, "gs://gym/ann/notes.mp4", None, None, None),
        (6, "NOT_A_VIDEO", "no video in it", "gs://gym/ann/text.mp4", None, None, None),
        (7, "READ_ERROR", "503 of a", "gs://gym/bob/a.mp4", None, None, None),
        (8, "NOT_A_VIDEO", text, "gs://gym/bob/notes.mp4", None, None, None),
    )

    assert answers[5] == named(
        "video_uri upload_date count_rounded count per_minute confidence model flags",
        (ROWS, SECOND_DAY, 3, 2.5, 30.0, 0.2, "lite", ""),
        (SQUATS, FIRST_DAY, 6, 6.0, 72.0, 0.5, "lite", "TRUNCATED ROTATED"),  # 6 in the 5 s that repeat
        (CURLS, FIRST_DAY, 0, 0.0, None, 0.1, "lite", "NOT_PERIODIC"),
        (PRESS, SECOND_DAY, 5, 5.0, 30.0, 0.125, "lite", ""),
        (LOOSE, FIRST_DAY, 3, 2.5, 30.0, 0.5, "lite", ""),
    )

    curve = answers[6]
    assert [row["frame"] for row in curve] == list(range(100))
    assert [curve[0], curve[24], curve[50], curve[99]] == named(
        "frame time_sec count per_minute periodicity period_sec",
        (0, 0.0, 0.0, 0.0, 0.0, None),
        (24, 2.4, 0.0, 0.0, 0.0, None),
        (50, 5.0, 26 / 20, 30.0, 1.0, 2.0),  # frames 25 to 50, each a twentieth
        (99, 9.9, 2.5, 0.0, 0.0, None),
    )

    assert answers[7] == named(
        "upload_date curves points gigabytes",
        (FIRST_DAY, 8, 800, 800 * 48 / 1e9),  # four videos, two models
        (SECOND_DAY, 4, 600, 600 * 48 / 1e9),
    )
    assert [row["points"] for row in run_sql(CURVE_POINTS)] == [row["points"] for row in answers[7]]

    assert answers[8] == named(
        "stage code failures example_uri example_message",
        ("decode", "READ_ERROR", 2, "gs://gym/ann/b.mp4", "503 of b"),
        ("decode", "NOT_A_VIDEO", 1, "gs://gym/ann/text.mp4", "no video in it"),  # those before were not this week
    )

    pair = ("lite", LITE, "other", LITE, 6, 3 / 6, (5.5 - 4.5 - 2.0 + 1.0 + 0.5 + 0.0) / 6)
    assert answers[9] == named(
        "model_a options_hash_a model_b options_hash_b videos within_one mean_difference "
        "place video_uri count_a count_b difference",
        (*pair, 1, CURLS, 0.0, 5.5, 5.5),
        (*pair, 2, ROWS, 7.0, 2.5, -4.5),
        (*pair, 3, SQUATS, 6.0, 4.0, -2.0),
        (*pair, 4, LOOSE, 2.5, 3.5, 1.0),
        (*pair, 5, ROWS, 2.5, 3.0, 0.5),  # its second version; PRESS, which does not differ, is the sixth
    )

    runs = [{name: value for name, value in row.items() if name != "run_started"} for row in answers[10]]
    assert runs == named(
        "run_id listed counted failed skipped lost failure_ratio video_hours hours speed",
        ("tonight", 11, 0, 3, 8, 0, 1.0, 0.0, 1.0, 0.0),
        ("nothing_new", 8, 0, 0, 8, 0, None, 0.0, 0.0, None),
        ("first", 11, 6, 2, 3, 0, 0.25, 70 / 3600, 150.5 / 3600, 70 / 150.5),
        ("trial", 6, 6, 0, 0, 0, 0.0, 70 / 3600, 25.5, 70 / 3600 / 25.5),
    )
    assert [row["run_started"] for row in answers[10][1:3]] == [STARTED + datetime.timedelta(days=1), STARTED]
