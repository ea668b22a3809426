"""A report finds its run with all its slices, and what came before."""

import datetime

import pytest

from pipeline.command_line import UsageError
from pipeline.report.content import Scope
from pipeline.report.scope import Run, choose_run, dates_before, read_runs, run_before, scope_of_run
from tests.support.samples import STARTED, make_provenance, make_video_count
from tests.support.warehouses import commit
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse


def run(name, hours, *, model="lite", outcomes=1, parts=(), slices=1):
    started = STARTED + datetime.timedelta(hours=hours)
    rows = tuple(part.name for part in parts) or (name,)
    return Run(name, rows, slices, started, model, "options", outcomes, tuple(parts))


def test_slices_are_one_run_and_the_latest_run_comes_first(tmp_path):
    warehouse = DuckDBWarehouse(str(tmp_path / "counts.duckdb"))
    warehouse.prepare()
    for number, run_id in enumerate(["a-1of2", "a-2of2", "b", "c-1of3", "odd-name-0of2"]):
        provenance = make_provenance(run_id, started=STARTED + datetime.timedelta(hours=number))
        commit(warehouse, provenance, make_video_count(f"gs://b/{number}.mp4"))
    later = STARTED + datetime.timedelta(hours=9)
    commit(warehouse, make_provenance("answers-serve", started=later), make_video_count("gs://b/served.mp4"))
    assert read_runs(warehouse, "answers-serve")[0].name == "answers-serve"
    runs = read_runs(warehouse)
    assert [(found.name, found.is_complete, found.outcomes) for found in runs] == [
        ("odd-name-0of2", True, 1),
        ("c", False, 1),
        ("b", True, 1),
        ("a", True, 2),
    ]
    scope = scope_of_run(warehouse, runs[-1])
    assert (scope.name, scope.run_ids, scope.started) == ("a", ("a-1of2", "a-2of2"), STARTED)
    assert scope.dates == (datetime.date(2026, 1, 1),)


def test_the_default_is_the_latest_complete_run_of_another_model_than_the_compared_one():
    runs = [run("d", 3, parts=[run("d-1of2", 3)], slices=2), run("c", 2, model="other"), run("b", 1), run("a", 0)]
    assert choose_run(runs, None, None).name == "c"
    assert choose_run(runs, None, "other").name == "b"
    assert choose_run(runs, "d", None).name == "d"
    assert choose_run(runs, "d-1of2", None).slices == 1
    with pytest.raises(UsageError, match=r"4 runs, of which the latest are d \(incomplete\), c, b, a, not 'x'"):
        choose_run(runs, "x", None)
    with pytest.raises(UsageError, match="a complete run of a model other than 'lite'"):
        choose_run(runs[2:], None, "lite")


def test_the_run_before_counted_something_with_the_same_model():
    runs = [run("e", 4), run("d", 3, outcomes=0), run("c", 2, model="other"), run("b", 1), run("a", 0)]
    assert run_before(runs, runs[0]).name == "b"
    assert run_before(runs, runs[-1]) is None
    assert run_before(runs, runs[2]) is None


def test_before_a_range_of_dates_is_a_range_as_long():
    days = tuple(datetime.date(2026, 3, day) for day in (1, 2, 3))
    before = dates_before(Scope("…", (), days, "lite", "options"))
    assert before.dates == (datetime.date(2026, 2, 26), datetime.date(2026, 2, 27), datetime.date(2026, 2, 28))
    assert before.name == "2026-02-26..2026-02-28"
