"""Draws groups of clips in other processes. Their frames come through shared memory: 38 MB for a group of 16."""

from __future__ import annotations

import dataclasses
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Iterable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from multiprocessing import connection
from typing import Any

import numpy as np

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.training.clips import Batch, draw_batch
from model.training.settings import TrainingSettings

_SEED_STRIDE = 10_000_000
"""Runs with different seeds share no clip if they draw fewer clips than this."""

_SLOTS_PER_PROCESS = 2
"""Groups per process that are being drawn, or wait to be taken."""

_drawn: np.ndarray
"""In a drawing process: the shared frames, (slots, clips, 64, 112, 112, 3) uint8."""

_pictures: Sequence[np.ndarray]
"""In a drawing process: the photographs."""


def draw_groups(
    numbers: Iterable[int], settings: TrainingSettings, pictures: Sequence[np.ndarray], workers: int
) -> Generator[Batch]:
    """Yields the groups of clips with these numbers, in their order. Other processes draw them in advance.

    Args:
      numbers: Numbers of the groups; settings and number determine the seeds of a group's clips.
      settings: Settings of the run.
      pictures: Photographs of which some textures are parts; may be none.
      workers: Number of drawing processes.

    Yields:
      The clips of a group, in `settings.views_per_clip` views. The frames are overwritten once the next group is asked for.

    Raises:
      BrokenProcessPool: A drawing process died.
    """
    shape = (_SLOTS_PER_PROCESS * workers, settings.group_clips, WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3)
    context = multiprocessing.get_context("spawn")  # not forked: the parent runs threads of TensorFlow or JAX
    # An unnamed file in shared memory, or on disk if that is too small. It ends with the last process, however that ends.
    memory = context.RawArray("B", int(np.prod(shape)))
    frames = np.frombuffer(memory, np.uint8).reshape(shape)
    pool = ProcessPoolExecutor(workers, mp_context=context, initializer=_start, initargs=(memory, shape, pictures))
    todo, free = iter(numbers), deque(range(shape[0]))
    waiting: deque[tuple[int, Future[Batch]]] = deque()
    try:
        while True:
            while free and (number := next(todo, None)) is not None:
                slot = free.popleft()
                waiting.append((slot, pool.submit(_draw, slot, number, settings)))
            if not waiting:
                return
            slot, future = waiting.popleft()
            yield dataclasses.replace(future.result(), frames=frames[slot])
            free.append(slot)
    finally:
        pool.shutdown(cancel_futures=True)


def _start(memory: Any, shape: tuple[int, ...], pictures: Sequence[np.ndarray]) -> None:
    """Prepares a drawing process."""
    global _drawn, _pictures
    _drawn, _pictures = np.frombuffer(memory, np.uint8).reshape(shape), pictures
    follow_parent()


def follow_parent() -> None:
    """Makes this process, if it has a parent, end with it and not by Ctrl-C."""
    if parent := multiprocessing.parent_process():
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends its processes
        threading.Thread(target=_end_with, args=(parent.sentinel,), daemon=True).start()


def _end_with(sentinel: int) -> None:
    """Ends this process with its parent, even if that is killed."""
    connection.wait([sentinel])
    os._exit(1)


def _draw(slot: int, number: int, settings: TrainingSettings) -> Batch:
    """Draws a group into a slot of the shared frames; returns it without frames."""
    batch = draw_batch(
        settings.seed * _SEED_STRIDE + number * settings.group_clips,
        settings.group_clips,
        settings.views_per_clip,
        settings.parts_left_out,
        _pictures,
    )
    _drawn[slot] = batch.frames
    return dataclasses.replace(batch, frames=np.empty(0, np.uint8))
