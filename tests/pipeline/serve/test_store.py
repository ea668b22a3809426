"""The server finds in the tables what was counted before, and stores what it counts, whether or not the tables are there."""

import dataclasses
import json
import logging
import threading
from pathlib import Path

import numpy as np
import pytest

from pipeline.count_formats import Outcome, json_record
from pipeline.counter import count_video
from pipeline.options import effective_options
from pipeline.serve import store as store_module
from pipeline.serve.answers import Source
from pipeline.serve.store import AnswerStore
from tests.support.samples import make_failure, make_provenance, make_video_count
from tests.support.scorers import FAKE_COUNTER
from tests.support.serving import Served, wait_until
from tests.support.videos import draw_video
from tests.support.warehouses import KINDS, commit, held_open, make_warehouse, num_rows, read
from transforms.failure_codes import FailureCode
from transforms.objects import find_object
from transforms.warehouse.base import WarehouseError
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.rows import canonical_json

LATER_SEC = 3600.0
"""Seconds until a commit that a test does not wait for."""


@pytest.fixture(params=KINDS)
def warehouse(request):
    """Tables that do not exist yet."""
    return make_warehouse(request.param, request)


@pytest.fixture
def duckdb(tmp_path):
    """Tables that do not exist yet, in DuckDB."""
    return DuckDBWarehouse(str(tmp_path / "counts.duckdb"))


def outcome(result):
    return Outcome(result, FAKE_COUNTER, wall_sec=1.5)


def run_provenance(run_id="nightly"):
    """Returns the provenance of a run with the server's model and options."""
    model = FAKE_COUNTER.model
    options = effective_options(FAKE_COUNTER.decoding, model, FAKE_COUNTER.options)
    return make_provenance(run_id, model=model.name, model_sha256=model.sha256, options_json=canonical_json(options))


def fresh(result, curve=False):
    """Returns the JSON of an answer counted now, without the time that it took."""
    return {**json.loads(json.dumps(json_record(outcome(result), curve))), "wall_sec": None}


def found(answer):
    assert answer.source is Source.TABLES
    return json.loads(json.dumps(answer.record))


@pytest.mark.parametrize("curve", [False, True])
def test_an_answer_from_the_tables_has_the_fields_and_values_of_a_fresh_one(warehouse, tmp_path, curve):
    paths = [
        draw_video(tmp_path / "squats.mp4", 100),
        draw_video(tmp_path / "still.mp4", 80, draw=lambda index: np.zeros((48, 64, 3), np.uint8)),
    ]
    results = [count_video(find_object(str(path)), FAKE_COUNTER) for path in paths]
    late = make_video_count("gs://b/late", flags=results[1].flags)
    odd = dataclasses.replace(late, facts=dataclasses.replace(late.facts, first_frame_sec=0.25, codec="", fps=float("nan")))
    results.append(odd)
    with AnswerStore(warehouse, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        for result in results:
            store.add(outcome(result))
    with AnswerStore(warehouse, FAKE_COUNTER) as store:
        for result in results:
            assert found(store.find(result.video, curve=curve)) == fresh(result, curve)
        assert store.figures.found == 3


def test_an_answer_that_waits_for_its_commit_is_found(duckdb):
    count, failure = make_video_count("gs://b/1"), make_failure("gs://b/2")
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        store.add(outcome(count))
        store.add(outcome(failure))
        assert found(store.find(count.video, curve=True)) == fresh(count, curve=True)
        assert found(store.find(failure.video)) == json_record(outcome(failure))
        assert store.figures.waiting == 2
        assert num_rows(duckdb)["video_counts"] == 0


def test_an_answer_that_the_tables_cannot_take_holds_up_no_other(duckdb, caplog):
    odd, good = make_failure("gs://b/odd", generation=2**63), make_failure("gs://b/good")
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=0.01) as store:
        store.add(outcome(odd))
        wait_until(lambda: store.figures.lost)
        store.add(outcome(odd))
        store.add(outcome(good))
        wait_until(lambda: store.figures.stored)
        assert (store.figures.failed_commits, store.figures.waiting) == (0, 0)
    assert read(duckdb, "video_uri", "failures") == [("gs://b/good",)]
    assert "The answer for 'gs://b/odd' cannot be stored" in caplog.text


def test_what_a_run_counted_is_the_answer_and_what_the_server_counts_is_not_counted_by_a_run(warehouse):
    warehouse.prepare()
    commit(warehouse, run_provenance(), make_video_count("gs://b/1"), make_failure("gs://b/2"))
    with AnswerStore(warehouse, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        assert found(store.find(make_video_count("gs://b/1").video))["count"] == 2.5
        assert found(store.find(make_failure("gs://b/2").video))["code"] == "NOT_A_VIDEO"
        assert store.find(make_video_count("gs://b/3").video) is None
        store.add(outcome(make_video_count("gs://b/3")))
    assert read(warehouse, "model, options_hash", "video_counts") == [("fake", run_provenance().options_hash)] * 2
    assert store.figures == store_module.StoreFigures(found=2, missed=1, stored=1)


def test_another_version_model_or_options_is_no_answer(duckdb):
    duckdb.prepare()
    commit(duckdb, run_provenance("one"), make_video_count("gs://b/1"))
    commit(duckdb, dataclasses.replace(run_provenance("two"), model="other"), make_video_count("gs://b/2"))
    commit(duckdb, dataclasses.replace(run_provenance("three"), options_json="{}"), make_video_count("gs://b/3"))
    with AnswerStore(duckdb, FAKE_COUNTER) as store:
        assert store.find(make_video_count("gs://b/1", generation=2).video) is None
        assert store.find(make_video_count("gs://b/2").video) is None
        assert store.find(make_video_count("gs://b/3").video) is None


def test_a_failure_that_another_try_may_end_otherwise_is_counted_anew(duckdb):
    duckdb.prepare()
    anew = [FailureCode.GONE, FailureCode.NOT_DELIVERED, FailureCode.READ_ERROR, FailureCode.TOO_LARGE]
    codes = [*anew, FailureCode.WORKER_DIED, FailureCode.EMPTY_FILE]
    failures = [make_failure(f"gs://b/{code}", code=code) for code in codes]
    commit(duckdb, run_provenance(), *failures)
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        assert [store.find(failure.video) is None for failure in failures] == [True, True, True, True, False, False]
        store.add(outcome(failures[0]))
        assert store.find(failures[0].video) is None


def test_the_rows_of_all_answers_of_some_seconds_are_one_run_that_balances(warehouse):
    answers = [make_video_count("gs://b/1"), make_video_count("gs://b/2"), make_failure("gs://b/3")]
    with AnswerStore(warehouse, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        for answer in [*answers, answers[0]]:
            store.add(outcome(answer))
    columns = "listed, counted, failed, skipped, scored_frames, model"
    assert read(warehouse, columns, "runs") == [(3, 2, 1, 0, 200, "fake")]
    assert num_rows(warehouse) == {"video_counts": 2, "frame_curves": 2, "failures": 1, "runs": 1}
    assert store.figures.stored == 3


def test_answers_are_committed_after_some_seconds_without_a_restart(duckdb):
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=0.05) as store:
        for number in range(3):
            store.add(outcome(make_video_count(f"gs://b/{number}")))
            wait_until(lambda number=number: store.figures.stored == number + 1)
        assert store.figures.waiting == 0
        assert store.find(make_video_count("gs://b/0").video) is not None
    assert num_rows(duckdb)["video_counts"] == 3
    assert [path.name for path in Path(duckdb.path).parent.iterdir()] == ["counts.duckdb"]  # and no staged files


def test_many_answers_are_committed_at_once(duckdb, monkeypatch):
    monkeypatch.setattr(store_module, "COMMIT_ANSWERS", 2)
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        for number in range(5):
            store.add(outcome(make_video_count(f"gs://b/{number}")))
        wait_until(lambda: store.figures.stored == 4)
    assert sorted(listed for (listed,) in read(duckdb, "listed", "runs")) == [1, 2, 2]


class BrokenWarehouse(DuckDBWarehouse):
    """Tables that are down while `is_down` is set."""

    is_down = threading.Event()

    def commit(self, *arguments, **options):
        self._check()
        return super().commit(*arguments, **options)

    def _stream(self, statement, parameters):
        self._check()
        yield from super()._stream(statement, parameters)

    def _check(self):
        if self.is_down.is_set():
            raise WarehouseError("the tables are down")


@pytest.fixture
def broken(tmp_path):
    BrokenWarehouse.is_down.clear()
    return BrokenWarehouse(str(tmp_path / "counts.duckdb"))


def test_tables_that_are_down_cost_no_answer_and_get_it_once_they_are_up(broken, caplog):
    answers = [make_video_count(f"gs://b/{number}") for number in range(3)]
    with caplog.at_level(logging.WARNING), AnswerStore(broken, FAKE_COUNTER, commit_sec=0.05, retry_sec=0.05) as store:
        broken.is_down.set()
        assert store.find(answers[0].video) is None
        assert store.find(answers[0].video) is None  # without asking again
        for answer in answers:
            store.add(outcome(answer))
        wait_until(lambda: store.figures.failed_commits >= 3)
        assert found(store.find(answers[1].video)) == fresh(answers[1])
        broken.is_down.clear()
        wait_until(lambda: store.figures.stored == 3)
    assert num_rows(broken)["video_counts"] == 3
    assert store.figures.unread == 2
    lines = [record.getMessage() for record in caplog.records if record.name == store_module.__name__]
    assert [line.partition(" in ")[0] for line in lines] == ["Answers cannot be looked up", "Answers cannot be stored"]
    assert all(line.endswith("WarehouseError: the tables are down") for line in lines)


def test_tables_that_do_not_answer_are_waited_for_once_and_not_by_every_request(broken, monkeypatch, caplog):
    monkeypatch.setattr(store_module, "LOOKUP_SEC", 0.05)
    is_over = threading.Event()
    monkeypatch.setattr(BrokenWarehouse, "_check", lambda self: is_over.wait(60))
    with AnswerStore(broken, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        assert store.find(make_video_count().video) is None
        monkeypatch.setattr(store_module, "LOOKUP_SEC", LATER_SEC)
        assert store.find(make_video_count().video) is None
        is_over.set()
    assert [record.getMessage() for record in caplog.records] == [
        f"Answers cannot be looked up in {broken.path}, so videos are counted: no answer in 0.05 s"
    ]


def test_what_waits_for_tables_that_are_down_is_bounded(broken, monkeypatch):
    monkeypatch.setattr(store_module, "MAX_WAITING_BYTES", 3 * 5_000)
    with AnswerStore(broken, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        for number in range(10):
            store.add(outcome(make_failure(f"gs://b/{number}")))
        assert (store.figures.waiting, store.figures.lost) == (3, 7)
    assert num_rows(broken)["failures"] == 3


def test_a_store_that_closes_while_the_tables_are_down_says_how_many_answers_are_lost(broken, caplog):
    with caplog.at_level(logging.WARNING), AnswerStore(broken, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        store.add(outcome(make_video_count()))
        broken.is_down.set()
    assert f"The server ends, and answers are not in {broken.path} and will be counted anew: 1" in caplog.text
    assert (store.figures.stored, store.figures.lost) == (0, 1)
    store.add(outcome(make_video_count("gs://b/2")))
    assert store.find(make_video_count("gs://b/2").video) is None


def test_a_file_that_another_program_has_open_is_waited_for_until_the_store_closes(duckdb, caplog):
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=0.05, retry_sec=0.05) as store:
        with held_open(duckdb) as close:
            store.add(outcome(make_video_count("gs://b/1")))
            wait_until(lambda: store.figures.failed_commits >= 2)
            assert store.find(make_video_count("gs://b/2").video) is None
            close()
        wait_until(lambda: store.figures.stored == 1)
        with held_open(duckdb) as close:
            store.add(outcome(make_video_count("gs://b/3")))
            store.close(timeout_sec=LATER_SEC)
            close()
    assert num_rows(duckdb)["video_counts"] == 1
    assert sorted(path.name for path in Path(duckdb.path).parent.iterdir()) == ["counts.duckdb"]
    lines = [record.getMessage() for record in caplog.records]
    assert sum("wait for another attempt: WarehouseFaultError: close the other program that has" in line for line in lines) == 2
    assert "are not in" in lines[-1]


def test_requests_for_one_video_get_what_each_asked_for(duckdb):
    duckdb.prepare()
    count = make_video_count("gs://b/1")
    commit(duckdb, run_provenance(), count)
    lookups = [store_module._Lookup(count.video, curve) for curve in (False, True, False)]
    AnswerStore(duckdb, FAKE_COUNTER)._answer(lookups)  # as if they had waited together
    for lookup in lookups:
        assert json.loads(json.dumps(lookup.record.result())) == fresh(count, lookup.with_curve)


def test_requests_that_wait_at_the_same_time_share_one_query(duckdb, monkeypatch):
    duckdb.prepare()
    commit(duckdb, run_provenance(), *(make_video_count(f"gs://b/{number}") for number in range(8)))
    asked, may_go, is_first = [], threading.Event(), threading.Event()
    read_answers = store_module.read_answers

    def ask(warehouse, provenance, videos, with_curve):
        is_first.set()
        may_go.wait(60)
        asked.append(len(videos))
        return read_answers(warehouse, provenance, videos, with_curve)

    monkeypatch.setattr(store_module, "read_answers", ask)
    answers = {}

    def find(number):
        answers[number] = store.find(make_video_count(f"gs://b/{number}").video, curve=number == 3)

    with AnswerStore(duckdb, FAKE_COUNTER) as store:
        threads = [threading.Thread(target=find, args=[number]) for number in range(8)]
        threads[0].start()
        is_first.wait(60)
        for thread in threads[1:]:
            thread.start()
        wait_until(lambda: len(store._lookups) == 7)
        may_go.set()
        for thread in threads:
            thread.join()
    assert asked == [1, 7]
    assert {number: answer.record["video_uri"] for number, answer in answers.items()} == {
        number: f"gs://b/{number}" for number in range(8)
    }
    assert ["curve" in answers[number].record for number in range(8)] == [number == 3 for number in range(8)]


def test_labels_of_the_name_are_stored(duckdb):
    labels = NameLabels(r"(?P<user>[^/]+)/")
    with AnswerStore(duckdb, FAKE_COUNTER, labels) as store:
        store.add(outcome(make_video_count("gs://b/eve/1.mp4")))
    assert read(duckdb, "labels", "video_counts") == [([{"name": "user", "value": "eve"}],)]


def test_a_name_that_is_not_utf8_is_found_again(duckdb, tmp_path):
    video = make_video_count("/videos/not utf-8 \udcff.mp4")
    with AnswerStore(duckdb, FAKE_COUNTER, commit_sec=LATER_SEC) as store:
        store.add(outcome(video))
    with AnswerStore(duckdb, FAKE_COUNTER) as store:
        assert found(store.find(video.video)) == fresh(video)


def test_a_store_on_tables_that_cannot_be_written_does_not_start(tmp_path):
    (tmp_path / "counts.duckdb").mkdir()
    with pytest.raises(WarehouseError, match="must be a file"):
        AnswerStore(DuckDBWarehouse(str(tmp_path / "counts.duckdb")), FAKE_COUNTER).start()


def test_the_second_answer_to_a_request_comes_from_the_tables(duckdb, tmp_path):
    def open_store(counter):
        store = AnswerStore(duckdb, counter, commit_sec=LATER_SEC)
        store.start()
        return store

    draw_video(tmp_path / "squats.mp4", 100)
    (tmp_path / "bad.mp4").write_text("no video")
    answers = []
    for _ in range(2):  # two servers, one after the other
        with Served(tmp_path, open_keeper=open_store) as served:
            answers += [served.get(f"/count?name={name}&curve=true") for name in ("squats.mp4", "bad.mp4") for _ in range(2)]
    assert [answer.json()["source"] for answer in answers] == ["counted", "tables"] * 2 + ["tables"] * 4
    assert [answer.status_code for answer in answers] == [200, 200, 422, 422] * 2
    records = [{**answer.json(), "source": None, "wall_sec": None} for answer in answers]
    assert records[0] == records[1] == records[4] == records[5]
    assert {**records[2], "wall_sec": None} == records[3] == records[6] == records[7]
    assert read(duckdb, "listed, counted, failed", "runs") == [(2, 1, 1)]
