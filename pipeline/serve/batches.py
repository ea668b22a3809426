"""Several videos in one request, as Vertex AI and BigQuery send them. One that fails does not fail the others."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Sequence
from typing import Any

from pipeline.serve.answers import Answer
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import DeadlineError, DrainingError, NotReadyError, RequestError, ServiceBusyError, of_the_server
from pipeline.serve.service import CountingService
from transforms.machine_faults import MachineFaultError
from transforms.text import printable

BATCH_PLACES = 4
"""Most videos of one request that wait or are counted at the same time. Other requests keep their share of the queue."""

_AGAIN_SEC = 0.5
"""Seconds after which a video of a batch asks for a place again, when the queue is full."""

_LOGGER = logging.getLogger(__name__)


async def count_batch(
    names: Sequence[str], service: CountingService, config: ServeConfig, *, curve: bool = False
) -> list[Answer | RequestError]:
    """Returns the answer for each name, in their order, or why there is none.

    A name that comes several times is counted once. The first video finds out whether the queue has a place. Then the others
    wait for places, up to the deadline of a request for all of them together.

    Args:
      names: Names of videos, as `AllowedPlaces.find` takes them.
      service: Counts the videos.
      config: What may be read, and the deadline.
      curve: Whether the answers have the values of each frame.

    Raises:
      NotReadyError: The model is not loaded yet.
      DrainingError: The server is about to end, and no video of the batch is counted.
      ServiceBusyError: The queue is full, and no video of the batch is counted.
    """
    different = list(dict.fromkeys(names))
    answers = dict(zip(different, await _count_different(different, service, config, curve), strict=True))
    return [answers[name] for name in names]


async def _count_different(
    names: Sequence[str], service: CountingService, config: ServeConfig, curve: bool
) -> list[Answer | RequestError]:
    service.check_open()
    places = asyncio.Semaphore(BATCH_PLACES)

    async def count(name: str) -> Answer:
        return await service.find_and_count(functools.partial(config.places.find, name), curve=curve)

    async def count_patiently(name: str) -> Answer:
        async with places:
            while True:
                try:
                    return await count(name)
                except ServiceBusyError:
                    await asyncio.sleep(_AGAIN_SEC)

    async def count_all() -> None:
        for name in names[:1]:
            tasks.append(asyncio.create_task(count(name)))
            await asyncio.wait(tasks)
            first = _result(tasks[0], config)
            if isinstance(first, (ServiceBusyError, NotReadyError, DrainingError)):
                raise first
        tasks.extend(asyncio.create_task(count_patiently(name)) for name in names[1:])
        if tasks:
            await asyncio.wait(tasks)

    tasks: list[asyncio.Task[Answer]] = []
    try:
        await asyncio.wait_for(count_all(), config.deadline_sec)
    except TimeoutError:
        pass
    finally:
        results = [task if task.done() else None for task in tasks]  # as they are before the others are cancelled
        for task in tasks:
            task.cancel()
    answers = [_result(task, config) for task in results]
    return answers + [DeadlineError(config.deadline_sec)] * (len(names) - len(answers))


def error_record(name: Any, error: RequestError) -> dict[str, Any]:
    """Returns what stands in the place of the answer for a name."""
    return {"video_uri": name, "status": "failed", "error": {"code": error.code, "message": error.message}}


def _result(task: asyncio.Task[Answer] | None, config: ServeConfig) -> Answer | RequestError:
    error = DeadlineError(config.deadline_sec) if task is None else task.exception()
    if error is None and task is not None:
        return task.result()
    if isinstance(error, RequestError):
        return error
    if isinstance(error, MachineFaultError):
        _LOGGER.error("%s", printable(str(error)))
    else:
        _LOGGER.error("A video of a batch met an error of the program.", exc_info=error)
    return of_the_server(error)
