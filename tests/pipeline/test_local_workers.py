"""A local run ends when one of its worker processes dies, and other errors in threads are reported as before."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.local_workers import WorkerLostError, end_workers, lost_workers_are_errors

WORKER = "apache_beam.runners.worker.sdk_worker_main"


def fail(message):
    raise RuntimeError(message)


def lose_a_worker():
    """Lets a thread of Beam's name fail, and waits to be interrupted."""
    with lost_workers_are_errors():
        start_thread("run_worker", "exit status 9")
        time.sleep(30)


def start_thread(name, message):
    thread = threading.Thread(target=fail, args=(message,), name=name)
    thread.start()
    return thread


def test_a_worker_that_dies_interrupts_the_main_thread():
    with pytest.raises(WorkerLostError, match="a worker process died: exit status 9"):
        lose_a_worker()


def test_the_other_workers_are_killed_however_narrow_the_terminal(monkeypatch):
    monkeypatch.setenv("COLUMNS", "40")
    command = f"{sys.executable} -c 'import time; time.sleep(60)' {WORKER}; true"
    with subprocess.Popen(["sh", "-c", command]) as worker:
        with pytest.raises(WorkerLostError):
            lose_a_worker()
        assert worker.wait() == -signal.SIGKILL


def test_errors_in_other_threads_are_reported_and_do_not_interrupt(monkeypatch):
    reported = []
    monkeypatch.setattr(threading, "excepthook", lambda error: reported.append(str(error.exc_value)))
    with lost_workers_are_errors():
        start_thread("another", "no worker").join()
    assert reported == ["no worker"]


def test_the_handlers_are_restored():
    before = signal.getsignal(signal.SIGUSR1), threading.excepthook
    with lost_workers_are_errors():
        assert signal.getsignal(signal.SIGUSR1) != before[0]
    assert (signal.getsignal(signal.SIGUSR1), threading.excepthook) == before


def test_outside_the_main_thread_nothing_is_changed():
    before = threading.excepthook
    seen = []

    def body():
        with lost_workers_are_errors():
            seen.append(threading.excepthook)

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [before]


def test_workers_are_killed_and_the_threads_that_wait_for_them_end(monkeypatch):
    monkeypatch.setattr(threading, "excepthook", lambda error: None)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", WORKER]) as worker:
        watcher = threading.Thread(target=worker.wait, name="run_worker")
        watcher.start()
        end_workers()
        assert not watcher.is_alive()
        assert worker.wait() == -signal.SIGKILL


def test_without_workers_there_is_nothing_to_end(monkeypatch):
    monkeypatch.setattr("pipeline.local_workers._kill_workers", None)
    end_workers()
