"""The answers of the server in the warehouse: looked up before a video is counted, and stored after it was.

A lookup takes BigQuery about a second, and a commit many more. So both gather what waits. One query looks up all videos asked
for meanwhile. One commit stores all answers of some seconds, as a run of its own with its row in `runs`. An answer that waits
for its commit is found as well. Nobody waits for a commit, and a warehouse that is down costs no answer: the video is counted,
and its answer waits until the tables take it. What waits when the process dies is counted anew.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import dataclasses
import datetime
import itertools
import logging
import threading
import time
from typing import Any

import tenacity

from pipeline.count_formats import CURVE_FIELDS, Outcome, count_record, failure_record
from pipeline.counted_video import describe
from pipeline.counter import Counter
from pipeline.options import effective_options
from pipeline.provenance import new_provenance
from pipeline.serve.answers import Answer, Source, StoreFigures
from pipeline.serve.stored_answers import COUNTED_ANEW, UNKNOWN_TIME, Key, key_of, read_answers
from transforms.failure_codes import describe_error
from transforms.records import Failure, VideoCount, VideoRef
from transforms.staging import check_balance, to_batches
from transforms.warehouse.base import Warehouse
from transforms.warehouse.duckdb_warehouse import DuckDBWarehouse
from transforms.warehouse.name_labels import NameLabels
from transforms.warehouse.parquet import StagedFile, TableWriter
from transforms.warehouse.rows import Provenance, RowError, canonical_json
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, SERVER_SUFFIX, VIDEO_COUNTS

LOOKUP_SEC = 10.0
"""Seconds that a request waits for the tables, before its video is counted without asking them."""

BLIND_SEC = 30.0
"""Seconds without lookups after one that failed, so that not every request waits for tables that are down."""

LOCAL_COMMIT_SEC = 2.0
"""Seconds that the first answer waits for others, before a commit to tables on this machine."""

REMOTE_COMMIT_SEC = 30.0
"""The same for tables elsewhere: about 3,000 commits a day, of a dozen jobs each, are far below BigQuery's quotas."""

COMMIT_ANSWERS = 500
"""Number of answers that are committed at once."""

MAX_WAITING_BYTES = 64 << 20
"""Bytes of answers that may wait for a commit: about 600 hours of video. Beyond it answers are sent and not stored."""

_RESULT_BYTES = 4096
"""Bytes of an answer beside its values for each frame."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class _Lookup:
    """A video that a request waits for."""

    video: VideoRef
    with_curve: bool
    record: concurrent.futures.Future[dict[str, Any] | None] = dataclasses.field(default_factory=concurrent.futures.Future)


@dataclasses.dataclass(eq=False)
class _Batch:
    """Answers that are committed as one run."""

    provenance: Provenance
    results: dict[Key, VideoCount | Failure]
    files: list[StagedFile] | None = None


class AnswerStore:
    """Answers in the warehouse under the key of a run: URI, generation, model, options. A context manager.

    Has two threads, one that looks up and one that commits.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        counter: Counter,
        name_labels: NameLabels | None = None,
        *,
        commit_sec: float | None = None,
        retry_sec: float = 60.0,
    ) -> None:
        """Creates a store that has not started.

        Args:
          warehouse: Tables that answers are in.
          counter: Model and options, which are part of the key.
          name_labels: How videos get the labels in their rows. None for no labels.
          commit_sec: Seconds that the first answer waits for others. None for `LOCAL_COMMIT_SEC` or `REMOTE_COMMIT_SEC`.
          retry_sec: Most seconds between two attempts at a commit.
        """
        self._warehouse = warehouse
        self._counter = counter
        self._name_labels = name_labels or NameLabels()
        self._commit_sec = commit_sec or (LOCAL_COMMIT_SEC if warehouse.is_local else REMOTE_COMMIT_SEC)
        self._retry_sec = retry_sec
        self._key = self._new_provenance()
        self._changed = threading.Condition()  # guards all that follows
        self._lookups: list[_Lookup] = []
        self._waiting: dict[Key, VideoCount | Failure] = {}
        self._waiting_bytes = 0
        self._oldest_sec = 0.0
        self._blind_until_sec = 0.0
        self._is_blind = False
        self._figures = StoreFigures()
        self._is_closing = threading.Event()
        # DuckDB lets nobody read a file that this process writes to.
        self._in_use: contextlib.AbstractContextManager[Any] = (
            threading.Lock() if warehouse.is_local else contextlib.nullcontext()
        )
        self._threads = [
            threading.Thread(target=target, name=f"answers-{target.__name__.strip('_')}", daemon=True)
            for target in (self._look_up, self._commit_all)
        ]

    def start(self) -> None:
        """Creates or updates the tables, and starts to take answers.

        Raises:
          WarehouseError: The tables cannot be written to, created or updated.
        """
        self._warehouse.check()
        self._warehouse.prepare()
        if isinstance(self._warehouse, DuckDBWarehouse):
            # A store that closes must not wait for another program. Until then it tries again by itself.
            self._warehouse = dataclasses.replace(self._warehouse, lock_timeout_sec=0.0)
        for thread in self._threads:
            thread.start()

    def close(self, timeout_sec: float = 60.0) -> None:
        """Commits what waits, once, and ends; logs how many answers could not be stored in `timeout_sec`."""
        with self._changed:
            self._is_closing.set()
            self._changed.notify_all()
            lookups, self._lookups = self._lookups, []
        for lookup in lookups:
            lookup.record.cancel()
        until_sec = time.monotonic() + timeout_sec
        for thread in self._threads:
            if thread.ident is not None:
                thread.join(max(0.0, until_sec - time.monotonic()))
        with self._changed:
            lost = len(self._waiting)
            self._count(lost=lost)
        if lost:
            _LOGGER.warning(
                "The server ends, and answers are not in %s and will be counted anew: %d", self._warehouse.name, lost
            )

    def __enter__(self) -> AnswerStore:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    @property
    def figures(self) -> StoreFigures:
        """What the store has done until now."""
        with self._changed:
            return dataclasses.replace(self._figures, waiting=len(self._waiting))

    def find(self, video: VideoRef, *, curve: bool = False) -> Answer | None:
        """Returns the answer for a video; None if the video is to be counted.

        Waits at most `LOOKUP_SEC`, and not at all for tables that did not answer a moment ago. Raises nothing.

        Args:
          video: Video to look up.
          curve: Whether the answer has the values of each frame.
        """
        with self._changed:
            result = self._waiting.get(key_of(video))
            if result is None:
                if time.monotonic() < self._blind_until_sec or self._is_closing.is_set():
                    self._count(unread=1)
                    return None
                lookup = _Lookup(video, curve)
                self._lookups.append(lookup)
                self._changed.notify_all()
        if result is not None:
            record = self._to_record(result, curve)
        else:
            try:
                record = lookup.record.result(LOOKUP_SEC)
            except Exception as error:  # of whichever client; the video is counted instead
                lookup.record.cancel()
                self._go_blind(error)
                return None
        with self._changed:
            self._count(found=record is not None, missed=record is None)
        return None if record is None else Answer(record, Source.TABLES)

    def add(self, outcome: Outcome) -> None:
        """Takes a new count or failure, to be committed soon. Does not wait for the tables, and raises nothing."""
        result = outcome.result
        size = _size(result)
        with self._changed:
            if self._waiting_bytes + size > MAX_WAITING_BYTES or self._is_closing.is_set():
                self._count(lost=1)
                return
            if not self._waiting:
                self._oldest_sec = time.monotonic()
            replaced = self._waiting.get(key := key_of(result.video))
            self._waiting_bytes += size - (_size(replaced) if replaced is not None else 0)
            self._waiting[key] = result
            self._changed.notify_all()

    def _to_record(self, result: VideoCount | Failure, with_curve: bool) -> dict[str, Any] | None:
        """Returns the record of an answer that waits; None for a failure that is counted anew."""
        if isinstance(result, VideoCount):
            return {**count_record(describe(result, self._counter), with_curve), **UNKNOWN_TIME}
        return None if result.code in COUNTED_ANEW else failure_record(result.video.uri, result.code.value, result.message)

    def _new_provenance(self) -> Provenance:
        counter = self._counter
        options = effective_options(counter.decoding, counter.model, counter.options)
        return new_provenance(counter.model, canonical_json(options), self._name_labels, SERVER_SUFFIX)

    def _count(self, **added: int) -> None:
        """Adds to the figures. The caller holds the lock."""
        self._figures = dataclasses.replace(
            self._figures, **{name: getattr(self._figures, name) + number for name, number in added.items()}
        )

    def _go_blind(self, error: Exception) -> None:
        """Leaves the tables alone for a while; logs that once until they answer again."""
        with self._changed:
            self._blind_until_sec = time.monotonic() + BLIND_SEC
            self._count(unread=1)
            is_news, self._is_blind = not (self._is_blind or self._is_closing.is_set()), True
        if is_news:
            reason = f"no answer in {LOOKUP_SEC:g} s" if isinstance(error, TimeoutError) else describe_error(error)
            _LOGGER.warning("Answers cannot be looked up in %s, so videos are counted: %s", self._warehouse.name, reason)

    def _look_up(self) -> None:
        """Looks up what requests wait for, all at once, until the store closes."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._lookups or self._is_closing.is_set())
                lookups, self._lookups = self._lookups, []
            # A request that has gone, or has waited too long, needs no answer.
            lookups = [lookup for lookup in lookups if lookup.record.set_running_or_notify_cancel()]
            if lookups:
                self._answer(lookups)
            elif self._is_closing.is_set():
                return

    def _answer(self, lookups: list[_Lookup]) -> None:
        videos = {lookup.video for lookup in lookups}
        with_curve = {lookup.video for lookup in lookups if lookup.with_curve}
        try:
            with self._in_use:
                records = read_answers(self._warehouse, self._key, videos, with_curve)
        except Exception as error:  # of whichever client; each request counts its video instead
            for lookup in lookups:
                lookup.record.set_exception(error)
            return
        with self._changed:
            self._is_blind, self._blind_until_sec = False, 0.0
        for lookup in lookups:
            record = records.get(lookup.video)
            if record is not None and not lookup.with_curve:  # another request may have asked for it
                record = {name: value for name, value in record.items() if name not in CURVE_FIELDS}
            lookup.record.set_result(record)

    def _commit_all(self) -> None:
        """Commits what waits, a batch at a time, until the store closes."""
        while True:
            with self._changed:
                while not self._is_due():
                    self._changed.wait(self._due_in_sec())
                results = dict(itertools.islice(self._waiting.items(), COMMIT_ANSWERS))
            if not results or not self._commit_patiently(_Batch(self._new_provenance(), results)):
                return  # the store closes, and nothing waits or the tables refuse

    def _is_due(self) -> bool:
        if self._is_closing.is_set():
            return True
        return bool(self._waiting) and (
            len(self._waiting) >= COMMIT_ANSWERS or time.monotonic() >= self._oldest_sec + self._commit_sec
        )

    def _due_in_sec(self) -> float | None:
        return max(0.0, self._oldest_sec + self._commit_sec - time.monotonic()) if self._waiting else None

    def _commit_patiently(self, batch: _Batch) -> bool:
        """Commits a batch, however long that takes, but once the store closes no second time; returns whether it is stored."""
        retrying = tenacity.Retrying(
            wait=tenacity.wait_random_exponential(multiplier=1, max=self._retry_sec),
            stop=tenacity.stop_when_event_set(self._is_closing),
            sleep=tenacity.sleep_using_event(self._is_closing),
            before_sleep=self._note_failed_commit,
            retry_error_callback=self._give_up,
        )
        if not retrying(self._commit, batch):
            if self._warehouse.is_local:  # tables elsewhere may be committing still
                self._warehouse.remove_staging(batch.provenance.run_id)
            return False
        with self._changed:
            for key, result in batch.results.items():
                self._forget(key, result)
            self._oldest_sec = time.monotonic()
            self._count(stored=len(batch.results))
        self._warehouse.remove_staging(batch.provenance.run_id)
        return True

    def _commit(self, batch: _Batch) -> bool:
        """Commits a batch. Doing so again, after an attempt whose end is unknown, changes nothing."""
        provenance = batch.provenance
        if batch.files is None:
            batch.files = self._stage(batch)
        if not batch.results:
            return True
        with self._in_use:
            ended = datetime.datetime.now(datetime.UTC)
            totals = self._warehouse.commit(provenance, batch.files, listed=len(batch.results), skipped=0, run_ended=ended)
        check_balance(totals, provenance.run_id)
        return True

    def _stage(self, batch: _Batch) -> list[StagedFile]:
        """Writes the rows of a batch to files, as a run does. Answers whose rows the schema does not allow are dropped."""
        folder = self._warehouse.staging_folder(batch.provenance.run_id)
        writers = {table.name: TableWriter(folder, table) for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)}
        try:
            for key, result in list(batch.results.items()):
                try:
                    of_tables = to_batches(result, batch.provenance)
                except RowError as error:  # at each attempt again, and others wait behind it
                    self._drop(batch, key, error)
                    continue
                for table, rows in of_tables:
                    writers[table.name].write(rows)
            return [file for writer in writers.values() for file in writer.close()]
        except BaseException:
            for writer in writers.values():
                writer.discard()
            raise

    def _drop(self, batch: _Batch, key: Key, error: RowError) -> None:
        """Forgets an answer that the tables cannot take, and logs that."""
        result = batch.results.pop(key)
        with self._changed:
            self._count(lost=1)
            self._forget(key, result)
        _LOGGER.warning("The answer for %r cannot be stored in %s: %s", result.video.uri, self._warehouse.name, error)

    def _forget(self, key: Key, result: VideoCount | Failure) -> None:
        """Lets an answer wait no more, unless a later one has taken its place. The caller holds the lock."""
        if self._waiting.get(key) is result:
            del self._waiting[key]
            self._waiting_bytes -= _size(result)

    def _note_failed_commit(self, state: tenacity.RetryCallState) -> None:
        """Counts a failed attempt at a commit and logs the first one of a batch."""
        with self._changed:
            self._count(failed_commits=1)
        error = state.outcome.exception() if state.outcome else None
        if state.attempt_number == 1 and error is not None:
            _LOGGER.warning(
                "Answers cannot be stored in %s and wait for another attempt: %s", self._warehouse.name, describe_error(error)
            )

    def _give_up(self, state: tenacity.RetryCallState) -> bool:
        self._note_failed_commit(state)
        return False


def _size(result: VideoCount | Failure) -> int:
    """Returns about how many bytes of memory a result takes."""
    if isinstance(result, Failure):
        return _RESULT_BYTES
    counted = result.counted
    arrays = (result.times_sec, counted.per_frame_count, counted.periodicity, counted.period_frames_curve, counted.is_periodic)
    return _RESULT_BYTES + sum(array.nbytes for array in arrays)
