"""The queries that analysts are shown answer what they say, alike in both databases."""

import datetime
import re
from pathlib import Path

import duckdb
import numpy as np
import pytest

from model.counting import Segment
from tests.transforms.samples import make_failure, make_provenance, make_video_count
from tests.transforms.test_warehouse import make_warehouse
from tests.transforms.warehouses import commit, later_run
from transforms.duckdb_warehouse import DuckDBWarehouse
from transforms.records import FailureCode

PAGE = (Path(__file__).parents[1] / "docs" / "queries.md").read_text(encoding="utf-8")
QUERIES = {int(number): sql for number, sql in re.findall(r"^## (\d+)\. .*?```sql\n(.*?)```", PAGE, re.MULTILINE | re.DOTALL)}

SQUATS = "gs://gym/ann/squats.mp4"
ROWS = "gs://gym/ann/rows.mp4"
PRESS = "gs://gym/bob/press.mp4"
DAY = datetime.date(2026, 1, 1)


def asking(warehouse, request):
    """Returns what runs a numbered query on a warehouse's tables and returns its rows as dicts."""

    def ask(number):
        if isinstance(warehouse, DuckDBWarehouse):
            with duckdb.connect(warehouse.path, read_only=True) as connection:
                return connection.sql(QUERIES[number]).to_arrow_table().to_pylist()
        return request.getfixturevalue("cloud").rows(QUERIES[number])

    return ask


@pytest.fixture(params=["duckdb", "bigquery"])
def ask(request):
    """Returns rows of a numbered query as dicts: two users, three counted videos, two models, three failures, three runs."""
    warehouse = make_warehouse(request.param, request)
    warehouse.prepare()
    two_sets = make_video_count(
        SQUATS,
        segments=(Segment(10, 30, 2.0), Segment(60, 80, 1.0)),
        repetition_frames=np.array([20.0, 30.0, 80.0]),
    )
    unsure = make_video_count(ROWS, confidence=0.2)
    other = make_video_count(PRESS, num_frames=200)
    failures = (make_failure("gs://gym/bob/text.mp4"), make_failure("gs://gym/cid/text.mp4"))
    commit(warehouse, make_provenance("first"), two_sets, unsure, *failures)
    gone = make_failure("gs://gym/cid/gone.mp4", code=FailureCode.GONE, message="the video was deleted")
    commit(warehouse, later_run("second"), other, gone, listed=5, skipped=3)
    commit(
        warehouse,
        later_run("third", model="other"),
        make_video_count(SQUATS, count=4.0),
        make_video_count(PRESS, num_frames=200),
    )

    return asking(warehouse, request)


def test_there_are_ten():
    assert list(QUERIES) == list(range(1, 11))


def test_their_answers(ask):
    rows = ask(1)
    assert [(row["upload_date"], row["user_name"], row["videos"]) for row in rows] == [(DAY, "ann", 2), (DAY, "bob", 1)]
    assert [row["repetitions"] for row in rows] == pytest.approx([6.5, 5.0])
    assert [row["video_minutes"] for row in rows] == pytest.approx([20 / 60, 20 / 60])

    rows = ask(2)  # of the count that was made last, which has one set
    assert [list(row.values()) for row in rows] == [pytest.approx([2.5, 7.5, 2.5, 30.0])]

    rows = ask(3)
    assert [(row["time_sec"], row["took_sec"]) for row in rows] == [(4.5, None), (6.5, pytest.approx(2.0))]

    assert ask(4) == []

    rows = ask(5)
    assert [(row["video_uri"], row["confidence"], list(row["flags"])) for row in rows] == [(ROWS, 0.2, [])]

    rows = ask(6)
    times = sorted({row["time_sec"] for row in rows})
    assert (len(rows), len(times), times[0], times[-1]) == (200, 100, 0.0, pytest.approx(9.9))  # those of both models
    assert max(row["count"] for row in rows) == pytest.approx(2.5)

    (row,) = ask(7)
    assert (row["upload_date"], row["curves"], row["points"]) == (DAY, 5, 100 + 100 + 200 + 100 + 200)
    assert row["gigabytes"] == pytest.approx(700 * 48 / 1e9)

    assert [list(row.values()) for row in ask(8)] == [
        ["decode", "NOT_A_VIDEO", 2, "gs://gym/bob/text.mp4", "no video stream"],
        ["decode", "GONE", 1, "gs://gym/cid/gone.mp4", "the video was deleted"],
    ]

    (row,) = ask(9)
    assert [row["model_a"], row["model_b"], row["videos"]] == ["lite", "other", 2]
    assert [row["within_one"], row["mean_difference"], row["largest_difference"]] == pytest.approx([0.5, 0.75, 1.5])

    rows = {row["run_id"]: row for row in ask(10)}
    assert {row["lost"] for row in rows.values()} == {0}
    assert {name: row["failure_ratio"] for name, row in rows.items()} == {"first": 0.5, "second": 0.5, "third": 0.0}
    assert rows["second"]["video_hours"] == pytest.approx(20 / 3600)
    assert rows["second"]["skipped"] == 3


@pytest.mark.parametrize("kind", ["duckdb", "bigquery"])
def test_sets_and_rests_of_one_video(kind, request):
    warehouse = make_warehouse(kind, request)
    warehouse.prepare()
    segments = (Segment(10, 30, 2.0), Segment(60, 80, 1.0), Segment(85, 95, 1.0))
    commit(
        warehouse,
        make_provenance(),
        make_video_count(SQUATS, segments=segments, repetition_frames=np.array([20.0, 30.0, 80.0])),
    )
    ask = asking(warehouse, request)
    assert [row["per_minute"] for row in ask(2)] == pytest.approx([60.0, 30.0, 60.0])
    assert [row["took_sec"] for row in ask(3)] == [None, pytest.approx(1.0), pytest.approx(5.0)]
    (row,) = ask(4)
    assert (row["video_uri"], row["rests"]) == (SQUATS, 2)
    assert [row["mean_rest_sec"], row["longest_rest_sec"]] == pytest.approx([1.75, 3.0])
