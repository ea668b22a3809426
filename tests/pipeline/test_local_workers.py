"""A local run ends when one of its worker processes dies, and other errors in threads are reported as before."""

import ctypes
import signal
import subprocess
import sys
import threading
import time

import pytest

from pipeline.local_workers import WorkerLostError, end_workers, give_large_blocks_back, lost_workers_are_errors

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


TAKES_A_LARGE_BLOCK = """
import ctypes
from pipeline.local_workers import give_large_blocks_back

class Usage(ctypes.Structure):
    names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost".split()
    _fields_ = [(name, ctypes.c_size_t) for name in names]

library = ctypes.CDLL(None)
library.mallinfo2.restype = Usage
library.malloc.restype = ctypes.c_void_p
library.malloc.argtypes = [ctypes.c_size_t]
library.free.argtypes = [ctypes.c_void_p]

def mapped():
    return library.mallinfo2().hblkhd  # bytes that go back to the system as soon as they are freed

def grows(size):
    before = mapped()
    block = library.malloc(size)
    after = mapped()
    library.free(block)
    return after - before >= size

print(grows(8 << 20), grows(1 << 20))  # freeing the first one raises the threshold
give_large_blocks_back()
print(grows(2 << 20))  # of another size, since the heap keeps a hole
"""
"""Prints whether blocks of 8 and of 1 MiB are mapped by themselves, and one of 2 MiB after the call."""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "mallinfo2"), reason="needs glibc 2.33")
def test_large_blocks_go_back_to_the_system_however_many_there_were_before():
    before, after = subprocess.check_output([sys.executable, "-c", TAKES_A_LARGE_BLOCK], text=True).splitlines()
    assert before == "True False"
    assert after == "True"


def test_without_glibc_nothing_happens(monkeypatch):
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    give_large_blocks_back()
