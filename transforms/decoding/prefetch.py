"""Fetches items in a background thread while the caller works on earlier ones."""

from __future__ import annotations

import contextlib
import dataclasses
import queue
import threading
from collections.abc import Generator, Iterator, Sequence
from typing import TypeVar

_T = TypeVar("_T")


@dataclasses.dataclass(frozen=True)
class _End:
    """Follows the last item, with the error that ended the items, if any."""

    error: BaseException | None


def prefetch_each(sources: Sequence[Generator[_T, None, None]]) -> Generator[Iterator[_T], None, None]:
    """Yields an iterator over the items of each source, in order; the next source starts while the caller takes one's items.

    Never more than two sources are open, so two decoders are enough for any number of videos.
    """
    with contextlib.ExitStack() as stack:
        started = [stack.enter_context(prefetch(source)) for source in sources[:1]]
        for number in range(len(sources)):
            if number + 1 < len(sources):
                started.append(stack.enter_context(prefetch(sources[number + 1])))
            yield started[number]


@contextlib.contextmanager
def prefetch(items: Generator[_T, None, None]) -> Iterator[Iterator[_T]]:
    """Yields an iterator over the same items, which a thread fetches in advance: at most two that the caller has not taken.

    An error of the generator reaches the caller after the items before it. At the end of the block, the thread has ended and
    the generator is closed.
    """
    fetched: queue.Queue[_T | _End] = queue.Queue(maxsize=1)
    is_over = threading.Event()

    def put(item: _T | _End) -> bool:
        while not is_over.is_set():
            with contextlib.suppress(queue.Full):
                fetched.put(item, timeout=0.1)
                return True
        return False

    def fetch() -> None:
        end = _End(None)
        try:
            for item in items:
                if not put(item):
                    return
        except BaseException as error:  # raised again where the items are taken
            end = _End(error)
        put(end)

    def take() -> Iterator[_T]:
        while not isinstance(item := fetched.get(), _End):
            yield item
        if item.error is not None:
            raise item.error

    thread = threading.Thread(target=fetch, daemon=True)
    thread.start()
    try:
        yield take()
    finally:
        is_over.set()
        thread.join()
        items.close()
