"""The queue in front of the model: one video is counted at a time, a bounded number waits, and nobody waits in vain.

All state belongs to the event loop. Only counting itself, and questions to the tables, run in threads.
"""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import logging
import math
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor

from pipeline.count_formats import Outcome
from pipeline.counter import Counter, count_video, warm_up
from pipeline.serve.answers import Answer, AnswerKeeper, make_answer
from pipeline.serve.errors import DeadlineError, DrainingError, NotReadyError, ServiceBusyError
from transforms.failure_codes import describe_error
from transforms.records import FrameChunk, VideoRef

_LOGGER = logging.getLogger(__name__)

_ASKING_THREADS = 32
"""Threads that wait for a store or for tables. Python's own number follows the cores, of which a container may have one."""

_FIRST_GUESS_SEC = 5.0
"""Seconds that counting a video is thought to take before one was counted."""

_WEIGHT = 0.2
"""Share of the latest video in the mean duration."""

MAX_RETRY_SEC = 600
"""Longest time that a client is told to wait."""

_STOP_SEC = 5.0
"""Seconds that a count may take to notice that it was stopped, when the server ends."""


class _StoppedError(Exception):
    """Nobody waits any more for the video that is counted."""


@dataclasses.dataclass(eq=False)
class _Job:
    """A video that waits or is counted, and those who wait for it.

    Attributes:
      video: Video to count.
      outcome: What becomes of it.
      keep: Whether it is written to the tables.
      num_waiting: Requests that wait for the outcome.
      is_stopped: Set when nobody waits for it any more.
    """

    video: VideoRef
    outcome: asyncio.Future[Outcome]
    keep: bool = False
    num_waiting: int = 0
    is_stopped: threading.Event = dataclasses.field(default_factory=threading.Event)

    def watch(self, chunk: FrameChunk) -> None:
        """Ends the count before the next chunk is scored, if nobody waits for it."""
        if self.is_stopped.is_set():
            raise _StoppedError


class CountingService:
    """Counts videos with one model, one after another. For one event loop; `start` it there first."""

    def __init__(
        self,
        load: Callable[[], Counter],
        *,
        open_keeper: Callable[[Counter], AnswerKeeper] | None = None,
        max_queue: int = 16,
        deadline_sec: float = 300.0,
    ) -> None:
        """Creates a service that has no model yet.

        Args:
          load: Loads the model; called once, in the thread that counts.
          open_keeper: Opens the tables to look answers up in and to write them to; called once, after the model is loaded.
          max_queue: Most videos that wait while one is counted.
          deadline_sec: Most seconds that an answer may take, the queue included.
        """
        self._load = load
        self._open_keeper = open_keeper
        self._max_queue = max_queue
        self._deadline_sec = deadline_sec
        self._thread = ThreadPoolExecutor(1, "counting")  # a model is for one thread at a time
        self._waiting: collections.deque[_Job] = collections.deque()
        self._jobs: dict[VideoRef, _Job] = {}
        self._running: _Job | None = None
        self._running_since = 0.0
        self._mean_sec = _FIRST_GUESS_SEC
        self._is_draining = False
        self._wake = asyncio.Event()  # set when a video waits, or the service is closed
        self._idle = asyncio.Event()  # set while no video is counted and none waits
        self._idle.set()
        self._is_closed = False
        self._worker: asyncio.Task[None] | None = None  # set in start()
        self._counter: Counter | None = None  # set when the model is warm, as is the next one
        self._keeper: AnswerKeeper | None = None
        self.observers: list[Callable[[Answer], None]] = []
        """Called with each answer."""
        self.load_error: Exception | None = None
        """Why the model cannot be loaded or the tables cannot be opened. The server then ends."""
        self.has_ended = True
        """Whether the thread that counts has ended, once the service is closed. A decoder that hangs holds it up."""

    @property
    def is_ready(self) -> bool:
        """Whether the model is warm and new requests are taken."""
        return self._counter is not None and not self._is_draining

    @property
    def is_draining(self) -> bool:
        """Whether the server is about to end."""
        return self._is_draining

    @property
    def keeper(self) -> AnswerKeeper | None:
        """The tables that answers are in; None if there are none, or they are not open yet."""
        return self._keeper

    @property
    def num_waiting(self) -> int:
        """Number of videos that wait, without the one that is counted."""
        return len(self._waiting)

    @property
    def is_counting(self) -> bool:
        """Whether a video is counted right now."""
        return self._running is not None

    def check_open(self) -> None:
        """Raises NotReadyError or DrainingError if requests are not taken."""
        if self._is_draining:
            raise DrainingError
        if self._counter is None:
            raise NotReadyError

    async def start(self) -> None:
        """Begins to load the model; returns at once."""
        asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(_ASKING_THREADS, "asking"))
        self._worker = asyncio.create_task(self._work())

    async def count(self, video: VideoRef, *, keep: bool = True, curve: bool = False) -> Answer:
        """Returns the answer for a video: from the tables, or else counted. If the caller is cancelled, it frees its place.

        Args:
          video: Video to count.
          keep: Whether to look it up in the tables, and to write it to them.
          curve: Whether the answer has the values of each frame.

        Raises:
          ServiceBusyError: As many videos wait as may wait.
          NotReadyError: The model is not loaded yet.
          DrainingError: The server is about to end.
          DeadlineError: It takes longer than a request may.
          MachineFaultError: The machine or a store has failed, not the video.
        """
        self.check_open()
        async with self._deadline():
            return await self._answer(video, keep, curve)

    async def find_and_count(self, find: Callable[[], VideoRef], *, curve: bool = False) -> Answer:
        """Returns the answer for a video that is looked for first, in a thread, within the same deadline: see `count`.

        Args:
          find: Returns the video. Its errors are raised as they are.
          curve: Whether the answer has the values of each frame.
        """
        self.check_open()
        async with self._deadline():
            return await self._answer(await asyncio.to_thread(find), True, curve)

    async def drain(self, grace_sec: float) -> None:
        """Takes nothing new, and returns when all that runs and waits has its answer.

        Args:
          grace_sec: Seconds after which what is not counted yet is answered with DrainingError.
        """
        self._is_draining = True
        try:
            async with asyncio.timeout(grace_sec):
                await self._idle.wait()
        except TimeoutError:
            for job in list(self._jobs.values()):
                self._drop(job)
                job.outcome.set_exception(DrainingError())

    async def close(self) -> None:
        """Stops counting and writes what the tables still lack."""
        await self.drain(0.0)
        self._is_closed = True
        self._wake.set()
        if self._worker is not None:
            _, still_running = await asyncio.wait({self._worker}, timeout=_STOP_SEC)
            self.has_ended = not still_running
        self._thread.shutdown(wait=False)
        if self._keeper is not None:
            await asyncio.to_thread(self._keeper.close)

    @contextlib.asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        """Ends the body with DeadlineError when a request may take no longer."""
        limit = asyncio.timeout(self._deadline_sec)
        try:
            async with limit:
                yield
        except TimeoutError as error:
            if limit.expired():
                raise DeadlineError(self._deadline_sec) from error
            raise

    async def _answer(self, video: VideoRef, keep: bool, curve: bool) -> Answer:
        """Returns the answer for a video: see `count`."""
        found = await self._look_up(video, curve) if keep and video not in self._jobs else None
        if found is None:
            outcome = await self._count(video, keep)
            found = await asyncio.to_thread(make_answer, outcome, curve=curve)
        for observe in self.observers:
            observe(found)
        return found

    async def _look_up(self, video: VideoRef, curve: bool) -> Answer | None:
        """Returns the answer that the tables have. A video is counted again if they cannot be read: late beats not at all."""
        if self._keeper is None:
            return None
        try:
            return await asyncio.to_thread(self._keeper.find, video, curve=curve)
        except Exception as error:
            _LOGGER.warning("The tables cannot be read: %s", describe_error(error))
            return None

    async def _count(self, video: VideoRef, keep: bool) -> Outcome:
        """Returns what becomes of a video. Requests for the same version of one share its place."""
        job = self._jobs.get(video)
        if job is None:
            job = self._enqueue(video)
        job.keep |= keep
        job.num_waiting += 1
        try:
            return await asyncio.shield(job.outcome)
        finally:
            job.num_waiting -= 1
            if job.num_waiting == 0 and not job.outcome.done():
                self._drop(job)

    def _enqueue(self, video: VideoRef) -> _Job:
        self.check_open()  # the tables may have taken a while to answer
        is_counting = self._running is not None and not self._running.is_stopped.is_set()
        if len(self._waiting) + is_counting > self._max_queue:
            raise ServiceBusyError(self._retry_after_sec())
        job = self._jobs[video] = _Job(video, asyncio.get_running_loop().create_future())
        job.outcome.add_done_callback(asyncio.Future.exception)  # else asyncio reports an error that nobody waited for
        self._waiting.append(job)
        self._wake.set()
        self._idle.clear()
        return job

    def _drop(self, job: _Job) -> None:
        """Takes a video out of the queue, or stops it before its next chunk."""
        job.is_stopped.set()
        self._jobs.pop(job.video, None)
        if job in self._waiting:
            self._waiting.remove(job)
        self._note_idle()

    def _note_idle(self) -> None:
        if not self._waiting and self._running is None:
            self._idle.set()

    def _retry_after_sec(self) -> int:
        """Returns the seconds until about half of the queue is counted, so that clients neither crowd in nor leave it empty."""
        counted_sec = time.monotonic() - self._running_since if self._running else 0.0
        wait_sec = max(0.0, self._mean_sec - counted_sec) + self._mean_sec * len(self._waiting) / 2
        return max(1, min(MAX_RETRY_SEC, math.ceil(wait_sec)))

    async def _work(self) -> None:
        """Loads the model, then counts what waits, until the service is closed."""
        loop = asyncio.get_running_loop()
        try:
            counter = await loop.run_in_executor(self._thread, self._load_warm)
            if self._open_keeper is not None:
                self._keeper = await asyncio.to_thread(self._open_keeper, counter)
        except Exception as error:
            self.load_error = error
            return
        self._counter = counter
        while not self._is_closed:
            await self._wake.wait()
            while self._waiting:
                await self._count_next(self._waiting.popleft(), counter)
            self._wake.clear()

    def _load_warm(self) -> Counter:
        counter = self._load()
        warm_up(counter)
        return counter

    async def _count_next(self, job: _Job, counter: Counter) -> None:
        self._running, self._running_since = job, time.monotonic()
        try:
            outcome = await asyncio.get_running_loop().run_in_executor(self._thread, self._count_now, job, counter)
        except _StoppedError:
            pass
        except Exception as error:
            if not job.outcome.done():
                job.outcome.set_exception(error)
        else:
            self._mean_sec += _WEIGHT * (outcome.wall_sec - self._mean_sec)
            if not job.outcome.done():
                job.outcome.set_result(outcome)
        finally:
            self._running = None
            if self._jobs.get(job.video) is job:
                del self._jobs[job.video]
            self._note_idle()

    def _count_now(self, job: _Job, counter: Counter) -> Outcome:
        """Counts a video in the thread of the model."""
        started = time.perf_counter()
        result = count_video(job.video, counter, job.watch)
        outcome = Outcome(result, counter, wall_sec=time.perf_counter() - started)
        if self._keeper is not None and job.keep:
            try:
                self._keeper.add(outcome)
            except Exception as error:
                _LOGGER.error("A count is not written to the tables: %s", describe_error(error))
        return outcome
