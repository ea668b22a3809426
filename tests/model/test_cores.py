"""A process knows how many cores it may use."""

import os

from model.cores import num_cores


def test_cores_are_those_that_the_process_may_use():
    available = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(available)})
        assert num_cores() == 1
    finally:
        os.sched_setaffinity(0, available)
    assert num_cores() == len(available)
