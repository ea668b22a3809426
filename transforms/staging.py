"""Staging: a run writes its rows to Parquet files, and its last step commits all of them to the warehouse."""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
from collections.abc import Callable, Iterator

import apache_beam as beam
import pyarrow as pa
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.attempts import Attempts
from transforms.failure_codes import FailureCode, Stage
from transforms.failure_limit import FailureLimit
from transforms.machine_faults import machine_faults
from transforms.records import METRICS_NAMESPACE, Failure, SelectionTotals, VideoCount
from transforms.warehouse.base import Warehouse
from transforms.warehouse.parquet import StagedFile, TableWriter
from transforms.warehouse.rows import Provenance, RowError, RunTotals, count_row, curve_row, failure_row, to_record_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS, Table

_LOGGER = logging.getLogger(__name__)


class LostVideosError(Exception):
    """A run listed other videos than it counted, failed and skipped. All rows that it has are committed nevertheless."""


@dataclasses.dataclass(eq=False)
class StageRows(beam.PTransform):
    """Writes the rows of counted and failed videos to Parquet files.

    Takes a PCollection of `VideoCount` and `Failure` in global windows and returns a PCollection of `StagedFile`. A bundle that
    is retried writes new files. The files of the failed attempt are in no PCollection, so they are never committed and are
    deleted with the folder. A count whose row the schema does not allow becomes a failure with the code COUNTING_FAILED.

    Attributes:
      folder: Folder of the run, local or `gs://`. Files are named `{folder}/{table}/{unique}.parquet`.
      provenance: The run, as recorded in its rows.
    """

    folder: str
    provenance: Provenance

    def expand(self, outcomes: beam.PCollection) -> beam.PCollection:
        """Writes the rows of each bundle; raises ValueError for other windows, since a file holds the rows of all."""
        windows = outcomes.windowing.windowfn
        if not isinstance(windows, GlobalWindows):
            name = type(windows).__name__
            raise ValueError(f"rows are staged in global windows: use WindowInto(GlobalWindows()) before. Received: {name}")
        return outcomes | "Write rows" >> beam.ParDo(_WriteRowsFn(self.folder, self.provenance))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.UTC)


@dataclasses.dataclass(eq=False)
class CommitRows(beam.PTransform):
    """Commits a run's files once all of them are written, then deletes them and the run's notes on attempts.

    Committing is a step of the pipeline, so rows are committed even if nobody waits for the job. Takes `{"staged": PCollection
    of StagedFile, "totals": PCollection of one SelectionTotals}` and returns a PCollection of one `RunTotals`. A run without
    videos commits its own row. A run that lost a video or has too many failures fails after its commit, so the job fails even
    if nobody waits. Metrics: distribution `commit_msec`, the wall time of the commit, in the namespace "repcount".

    Attributes:
      warehouse: Tables to commit to.
      provenance: The run, as in `StageRows`.
      failure_limit: How many videos may fail; None if the caller checks that.
      attempts: The run's notes. Default: there are none.
      clock: Returns the time at which the run ends, with its time zone. Default: the clock of the machine that commits.
    """

    warehouse: Warehouse
    provenance: Provenance
    failure_limit: FailureLimit | None = None
    attempts: Attempts = dataclasses.field(default_factory=Attempts)
    clock: Callable[[], datetime.datetime] = _now

    def expand(self, inputs: dict[str, beam.PCollection]) -> beam.PCollection:
        """Commits once; the files are a side input, so all of them are written when the commit starts."""
        totals = (
            inputs["totals"]
            | "Commit"
            >> beam.Map(
                _commit,
                warehouse=self.warehouse,
                provenance=self.provenance,
                clock=self.clock,
                files=beam.pvalue.AsList(inputs["staged"]),
            )
            # A retried commit needs the files, so they are deleted only after its result is stored.
            | "Keep totals" >> beam.Reshuffle()
            | "Remove files" >> beam.Map(_remove_files, self.warehouse, self.provenance, self.attempts)
        )
        # Files of a run whose check fails are deleted, too, however often the check is retried.
        kept = totals | "Keep removal" >> beam.Reshuffle()
        _ = kept | "Check balance" >> beam.Map(check_balance, self.provenance.run_id)
        if self.failure_limit is not None:
            _ = kept | "Check failures" >> beam.Map(self.failure_limit.check)
        return totals


class _WriteRowsFn(beam.DoFn):
    """Writes the rows of a bundle to files and yields these files."""

    def __init__(self, folder: str, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._writers: dict[str, TableWriter] = {}  # set in start_bundle()

    def start_bundle(self) -> None:
        """Discards the files of an earlier bundle that failed."""
        self._discard()
        self._writers = {table.name: TableWriter(self._folder, table) for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)}

    def process(self, outcome: VideoCount | Failure) -> None:
        """Writes the rows of one video."""
        for table, batch in to_batches(outcome, self._provenance):
            with machine_faults(f"write rows to {self._folder}"):
                self._writers[table.name].write(batch)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Closes the files and yields them."""
        for writer in self._writers.values():
            with machine_faults(f"write rows to {self._folder}"):
                files = writer.close()
            for file in files:
                yield GlobalWindows.windowed_value_at_end_of_window(file)

    def teardown(self) -> None:
        """Discards the files of a bundle that failed."""
        self._discard()

    def _discard(self) -> None:
        for writer in self._writers.values():
            writer.discard()
        self._writers = {}


def to_batches(outcome: VideoCount | Failure, provenance: Provenance) -> list[tuple[Table, pa.RecordBatch]]:
    """Returns the rows of a video, each with its table; those of a failure if the schema does not allow the count."""
    if isinstance(outcome, VideoCount):
        try:
            return [
                (VIDEO_COUNTS, to_record_batch(count_row(outcome, provenance), VIDEO_COUNTS)),
                (FRAME_CURVES, to_record_batch(curve_row(outcome, provenance), FRAME_CURVES)),
            ]
        except RowError as error:
            _LOGGER.warning("The count of %r cannot be stored: %s", outcome.video, error)
            outcome = Failure(outcome.video, Stage.COUNT, FailureCode.COUNTING_FAILED, str(error))
    return [(FAILURES, to_record_batch(failure_row(outcome, provenance), FAILURES))]


def _commit(
    selected: SelectionTotals,
    *,
    warehouse: Warehouse,
    provenance: Provenance,
    clock: Callable[[], datetime.datetime],
    files: list[StagedFile],
) -> RunTotals:
    started_sec = time.monotonic()
    listed = selected.listed - selected.left
    totals = warehouse.commit(provenance, files, listed=listed, skipped=selected.skipped, run_ended=clock())
    Metrics.distribution(METRICS_NAMESPACE, "commit_msec").update(round(1000 * (time.monotonic() - started_sec)))
    _LOGGER.info("Committed run %s: %s", provenance.run_id, totals)
    return totals


def check_balance(totals: RunTotals, run_id: str) -> None:
    """Raises LostVideosError unless listed = counted + failed + skipped."""
    if not totals.is_balanced:
        raise LostVideosError(
            f"run {run_id} lost videos: listed {totals.listed}, but counted {totals.counted}, failed {totals.failed}, "
            f"skipped {totals.skipped}"
        )


def _remove_files(totals: RunTotals, warehouse: Warehouse, provenance: Provenance, attempts: Attempts) -> RunTotals:
    warehouse.remove_staging(provenance.run_id)
    attempts.forget()
    return totals
