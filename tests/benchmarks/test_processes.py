"""The benchmarks read how much memory a process and its children have."""

import os
import subprocess
import sys

from benchmarks.processes import family, sample_memory

WAITS = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
"""A program that starts another one and waits for it."""


def test_memory_is_that_of_the_process_and_of_its_largest_descendant():
    with subprocess.Popen([sys.executable, "-c", WAITS], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        try:
            assert child.stdout.readline() == b"1\n"
            assert next(path.name for path in family(child.pid)) == str(child.pid)
            assert len(list(family(child.pid))) == 2
            sample = sample_memory(child.pid)
            assert sample.own_bytes > 1 << 20
            assert sample.child_bytes > 1 << 20
            assert sample_memory(os.getpid()).child_bytes > 1 << 20
        finally:
            child.communicate(b"\n")


def test_a_process_that_has_ended_takes_no_memory():
    with subprocess.Popen([sys.executable, "-c", ""]) as child:
        child.wait()
    sample = sample_memory(child.pid)
    assert (sample.own_bytes, sample.child_bytes) == (0, 0)
