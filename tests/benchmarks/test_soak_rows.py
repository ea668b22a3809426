"""The comparison of a soak finds every lost, doubled and different row, and nothing else."""

import copy
import datetime

import pytest

from benchmarks.soak_rows import Version, compare
from tests.support.samples import UPDATED, make_failure, make_provenance, make_video_count
from transforms.failure_codes import FailureCode
from transforms.staging import to_batches
from transforms.warehouse.rows import RunTotals, run_row
from transforms.warehouse.schema import TABLES

LONG, SHORT, BAD = ("gs://bucket/long.mp4", 2), ("gs://bucket/short.mp4", 1), ("gs://bucket/bad.mp4", 1)

REPLACED = ("gs://bucket/long.mp4", 1)

VERSIONS = {
    LONG: Version("long", UPDATED),
    SHORT: Version("short", UPDATED),
    BAD: Version("bad", UPDATED),
    REPLACED: Version("short", UPDATED),
}

CURRENT = {LONG, SHORT, BAD}

DAYS = {UPDATED.date()}


def make_tables(run_id, *outcomes, listed=3, counted=2, failed=1):
    """Returns the rows of a run by table."""
    provenance = make_provenance(run_id)
    tables = {table.name: [] for table in TABLES}
    for outcome in outcomes:
        for table, batch in to_batches(outcome, provenance):
            tables[table.name] += batch.to_pylist()
    totals = RunTotals(listed=listed, counted=counted, failed=failed, skipped=0, scored_frames=200, video_sec=20.0)
    ended = datetime.datetime(2026, 1, 3, tzinfo=datetime.UTC)
    tables["runs"].append(run_row(totals, provenance, ended, DAYS))
    return tables


def calm_tables():
    return make_tables(
        "calm", make_video_count(*LONG, num_frames=120), make_video_count(*SHORT, num_frames=80), make_failure(*BAD)
    )


def found_tables():
    """Returns the tables of a soak in which nothing is wrong, with rows of several runs."""
    tables = make_tables("one", make_video_count(*LONG, num_frames=120), make_failure(*BAD))
    later = make_tables("two-1of2", make_video_count(*SHORT, num_frames=80), make_video_count(*REPLACED, num_frames=80))
    return {name: tables[name] + later[name] for name in tables}


def found(tables, ended_runs=("one", "two"), last_days=DAYS):
    return compare(tables, calm_tables(), VERSIONS, CURRENT, ended_runs, last_days)


def row_of(tables, table, key):
    return next(row for row in tables[table] if (row["video_uri"], row["video_generation"]) == key)


def test_nothing_is_found_in_good_tables():
    result = found(found_tables())
    assert (result.lost, result.doubled, result.different) == ([], [], [])
    assert (result.rows, result.replaced, result.gone, result.halfway) == (9, 2, 0, 0)


def drop(table, key):
    return lambda tables: tables[table].remove(row_of(tables, table, key))


def double(table, key):
    return lambda tables: tables[table].append(copy.deepcopy(row_of(tables, table, key)))


def change(table, key, **values):
    return lambda tables: row_of(tables, table, key).update(values)


def fail(key, **changes):
    return lambda tables: tables["failures"].extend(make_tables("one", make_failure(*key, **changes))["failures"])


def both(*changes):
    return lambda tables: [one(tables) for one in changes]


def replace_by_failure(key, code):
    return both(drop("video_counts", key), drop("frame_curves", key), fail(key, code=code))


@pytest.mark.parametrize(
    ("break_tables", "kind", "text"),
    [
        (both(drop("video_counts", LONG), drop("frame_curves", LONG)), "lost", "neither a count nor a failure"),
        (drop("failures", BAD), "lost", "neither a count nor a failure"),
        (drop("frame_curves", SHORT), "lost", "has a count and no curve"),
        (replace_by_failure(LONG, FailureCode.READ_ERROR), "lost", "READ_ERROR"),
        (replace_by_failure(LONG, FailureCode.GONE), "lost", "GONE"),
        (lambda tables: tables["runs"][0].update(listed=4), "lost", "does not balance"),
        (lambda tables: tables["runs"].pop(), "lost", "run two ended well and has no row"),
        (double("video_counts", LONG), "doubled", "video_counts has 2 rows"),
        (double("frame_curves", LONG), "doubled", "frame_curves has 2 rows"),
        (double("failures", BAD), "doubled", "failures has 2 rows"),
        (fail(REPLACED, code=FailureCode.GONE), "doubled", "counted and failed"),
        (lambda tables: tables["runs"].append(tables["runs"][0]), "doubled", "runs has 2 rows of one"),
        (change("video_counts", LONG, count=9.0), "different", "other values of count of"),
        (change("failures", BAD, code="EMPTY_FILE"), "different", "other values of code of"),
        (lambda tables: row_of(tables, "frame_curves", LONG)["points"].pop(5), "different", "each frame once"),
        (change("video_counts", LONG, video_updated=UPDATED + datetime.timedelta(hours=1)), "different", "another upload time"),
        (change("failures", BAD, video_generation=7), "different", "never in the bucket"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_found(break_tables, kind, text):
    tables = found_tables()
    break_tables(tables)
    result = found(tables)
    lines = getattr(result, kind)
    assert any(text in line for line in lines), vars(result)


def test_a_version_that_was_replaced_may_be_gone_or_have_no_row():
    tables = found_tables()
    for table in ("video_counts", "frame_curves"):
        drop(table, REPLACED)(tables)
    assert not found(tables).lost
    fail(REPLACED, code=FailureCode.GONE)(tables)
    result = found(tables)
    assert (result.lost, result.doubled, result.different, result.gone) == ([], [], [], 1)


def test_rows_of_other_days_may_be_doubled_by_a_run_that_was_killed():
    tables = found_tables()
    double("video_counts", LONG)(tables)
    assert found(tables, last_days=set()).doubled == []


def test_a_run_that_was_killed_in_its_commit_is_recognised_by_its_missing_row():
    tables = found_tables()
    tables["runs"].pop()
    result = found(tables, ended_runs=("one",))
    assert (result.lost, result.halfway) == ([], 1)
