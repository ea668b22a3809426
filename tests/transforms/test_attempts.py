"""Notes name the videos that were in flight when a worker died, whoever tries them again."""

import os
import threading
import time

import pytest
from google.api_core.exceptions import ServiceUnavailable

from tests.support.samples import make_video
from transforms import attempts
from transforms.attempts import Attempts
from transforms.machine_faults import MachineFaultError

A, B, C, D = (make_video(f"gs://gym/{name}.mp4") for name in "abcd")

HOUR_SEC = 3600.0


class Clock:
    def __init__(self):
        self.now_sec = 1_800_000_000.0

    def __call__(self):
        return self.now_sec


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture(params=["local", "bucket"])
def folder(request, tmp_path):
    if request.param == "local":
        return str(tmp_path / "counts[1].duckdb.attempts")
    request.getfixturevalue("cloud_storage")
    return "gs://temp/re[p]count/attempts"


@pytest.fixture
def worker(folder, clock):
    """Returns the notes of a new worker of a run, which has read those that are left."""

    def start(run_id="run-1", counted_with="lite#0"):
        started = Attempts(folder, run_id, counted_with, clock=clock)
        started.read()
        return started

    return start


def die(worker, *videos):
    """Leaves a worker's note on videos, as its death does."""
    worker._write(1 + max(map(worker.deaths, videos)), [worker._hash(video) for video in videos])


def deaths(worker, *videos):
    return [worker.deaths(video) for video in videos]


def test_what_is_done_leaves_no_note(worker):
    with worker().noted([A, B]):
        assert deaths(worker("run-2"), A, B, C) == [1, 1, 0]
    assert deaths(worker("run-2"), A, B, C) == [0, 0, 0]


def test_an_error_is_no_death(worker):
    with pytest.raises(RuntimeError), worker().noted([A]):
        raise RuntimeError
    assert deaths(worker(), A) == [0]


def test_videos_in_flight_at_a_death_are_then_tried_one_by_one(worker):
    die(worker(), A, B)
    for run_id in ("run-1", "run-2"):
        assert worker(run_id).groups([A, C, B, D]) == [[C, D], [A], [B]]
        assert worker(run_id).groups([B]) == [[B]]


def test_deaths_add_up_over_attempts_and_only_for_the_video_in_flight(worker):
    die(worker(), A, B)
    die(worker(), B)
    assert deaths(worker(), A, B, C) == [1, 2, 0]
    die(worker(), B)
    assert deaths(worker(), A, B, C) == [1, 3, 0]


def test_a_new_version_and_another_model_start_anew(worker):
    die(worker(), A)
    assert deaths(worker(), A, make_video(A.uri, generation=2)) == [1, 0]
    assert deaths(worker(counted_with="repnet-2020#0"), A) == [0]


def test_notes_of_another_run_whose_workers_may_live_do_not_count_as_the_third_death(worker, clock):
    for _ in range(3):
        die(worker(), A)
    assert deaths(worker("run-1"), A) == [3]
    assert deaths(worker("run-2"), A) == [2]
    clock.now_sec += 7 * HOUR_SEC
    assert deaths(worker("run-2"), A) == [3]


def test_a_run_forgets_its_own_notes_only(worker):
    die(worker("run-1"), A)
    die(worker("run-2"), B)
    worker("run-2").forget()
    assert deaths(worker(), A, B) == [1, 0]
    worker("run-1").forget()
    assert deaths(worker(), A, B) == [0, 0]


@pytest.mark.parametrize("ends", [True, False])
def test_the_notes_on_a_failed_video_go_with_the_run_that_recorded_its_failure(worker, ends):
    die(worker("night-1"), A, B)
    die(worker("night-2"), A)
    worker("night-3").adopt(A)
    if ends:  # otherwise it was killed, and never does
        worker("night-2").forget()
    assert deaths(worker("night-4"), A, B) == [2, 1]
    worker("night-3").forget()
    assert deaths(worker("night-4"), A, B) == [1, 1]


def test_notes_that_no_run_deletes_go_after_30_days(worker, clock):
    die(worker(), A)
    clock.now_sec += 29 * 24 * HOUR_SEC
    assert deaths(worker("later"), A) == [1]
    clock.now_sec += 2 * 24 * HOUR_SEC
    assert deaths(worker("later"), A) == [0]
    clock.now_sec -= 2 * 24 * HOUR_SEC
    assert deaths(worker("later"), A) == [0]


def test_without_notes_there_is_no_local_folder(tmp_path):
    folder = tmp_path / "attempts"
    notes = Attempts(str(folder), "run-1")
    notes.read()
    assert not folder.exists()
    with notes.noted([A]):
        assert len(list(folder.iterdir())) == 1
    notes.forget()
    assert not folder.exists()


def test_other_files_in_the_folder_are_left_alone(tmp_path):
    (tmp_path / "readme").touch()
    notes = Attempts(str(tmp_path), "run-1")
    notes.read()
    notes.forget()
    assert os.listdir(tmp_path) == ["readme"]


def test_a_note_has_no_name_of_a_video(tmp_path):
    with Attempts(str(tmp_path), "run-1").noted([A, B, C, D]):
        (name,) = os.listdir(tmp_path)
    assert "gym" not in name


def test_without_a_folder_nothing_is_noted():
    notes = Attempts()
    notes.read()
    with notes.noted([A]):
        assert notes.groups([A, B]) == [[A, B]]
    notes.forget()


def test_a_store_that_is_down_is_a_fault_of_the_machine(monkeypatch):
    def refuse(name):
        raise ServiceUnavailable("down")

    monkeypatch.setattr(attempts, "open_bucket", refuse)
    notes = Attempts("gs://temp/attempts", "run-1")
    with pytest.raises(MachineFaultError, match="cannot read which videos were in flight: "):
        notes.read()
    with pytest.raises(MachineFaultError, match="cannot note which videos are in flight: "), notes.noted([A]):
        pass
    notes.forget()


def test_a_file_in_the_place_of_the_folder_is_a_fault_of_the_machine(tmp_path):
    (tmp_path / "attempts").touch()
    notes = Attempts(str(tmp_path / "attempts"), "run-1")
    with pytest.raises(MachineFaultError, match="cannot read which videos were in flight: NotADirectoryError"):
        notes.read()
    with pytest.raises(MachineFaultError, match="cannot note which videos are in flight: FileExistsError"), notes.noted([A]):
        pass


def test_videos_that_killed_no_worker_may_be_in_flight_side_by_side(worker):
    with worker().noted([A]):
        assert not attempts._IN_FLIGHT._gate.locked()
        with worker().noted([B, C]):
            assert deaths(worker("run-2"), A, B, C) == [1, 1, 1]


def test_nothing_else_is_in_flight_in_the_process_while_a_suspect_is_tried(tmp_path):
    die(Attempts(str(tmp_path), "run-1"), A)
    order, may_end = [], threading.Event()

    def work_on(video):
        notes = Attempts(str(tmp_path), "run-1")
        notes.read()
        with notes.noted([video]):
            order.append(f"{video.uri[-5]} begins")
            if video is B:
                may_end.wait()
            order.append(f"{video.uri[-5]} ends")

    threads = [threading.Thread(target=work_on, args=(video,)) for video in (B, A, C)]
    for thread, has_come in zip(threads, (lambda: order, attempts._IN_FLIGHT._gate.locked, lambda: True), strict=True):
        thread.start()
        while not has_come():
            time.sleep(0.01)
    may_end.set()
    for thread in threads:
        thread.join()
    assert order == ["b begins", "b ends", "a begins", "a ends", "c begins", "c ends"]
