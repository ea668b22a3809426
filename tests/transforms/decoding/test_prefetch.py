"""Items are fetched in advance, in order and within bounds, and errors reach the caller."""

import contextlib
import threading
import time

import pytest

from transforms.decoding.prefetch import prefetch, prefetch_each


def test_an_error_reaches_the_caller_after_the_items_before_it():
    def items():
        yield 1
        raise KeyError("who knows")

    with prefetch(items()) as prefetched:
        assert next(prefetched) == 1
        with pytest.raises(KeyError, match="who knows"):
            next(prefetched)


def test_two_items_are_fetched_in_advance_and_no_more():
    fetched = []

    def items():
        for number in range(5):
            fetched.append(number)
            yield number

    with prefetch(items()) as prefetched:
        assert next(prefetched) == 0
        while len(fetched) < 3:
            time.sleep(0.01)
        time.sleep(0.3)
        assert fetched == [0, 1, 2]
        assert list(prefetched) == [1, 2, 3, 4]


def test_leaving_the_block_closes_the_items():
    closed = []

    def items():
        try:
            while True:
                yield 1
        finally:
            closed.append(True)

    with prefetch(items()) as prefetched:
        next(prefetched)
    assert closed == [True]


def test_the_next_source_starts_while_one_is_taken_and_the_one_after_it_does_not():
    started = [threading.Event() for _ in range(4)]

    def items(number):
        started[number].set()
        yield number
        yield 10 * number

    with contextlib.closing(prefetch_each([items(number) for number in range(4)])) as prefetched:
        first = next(prefetched)
        assert started[1].wait()
        assert not started[2].is_set()
        assert list(first) == [0, 0]
        assert [list(source) for source in prefetched] == [[1, 10], [2, 20], [3, 30]]


def test_closing_the_prefetched_sources_closes_those_that_have_started():
    closed = []

    def items(number):
        try:
            while True:
                yield number
        finally:
            closed.append(number)

    with contextlib.closing(prefetch_each([items(number) for number in range(3)])) as prefetched:
        next(next(prefetched))
    assert sorted(closed) == [0, 1]
