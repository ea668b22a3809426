"""Staging: a run's rows wait in Parquet files of its own until one last step of the pipeline commits them all."""

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

from transforms.failure_codes import FailureCode, Stage
from transforms.records import METRICS_NAMESPACE, Failure, VideoCount
from transforms.selection import SelectionTotals
from transforms.warehouse.base import Warehouse
from transforms.warehouse.parquet import StagedFile, TableWriter
from transforms.warehouse.rows import Provenance, RowError, RunTotals, count_row, curve_row, failure_row, to_record_batch
from transforms.warehouse.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS, Table

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(eq=False)
class StageRows(beam.PTransform):
    """Writes the rows of settled videos to Parquet files.

    Takes a PCollection of `VideoCount` and `Failure` and returns one of `StagedFile`. A bundle that is tried again writes
    new files; those of the failed attempt are in no PCollection, so nobody commits them, and they go with the folder. A count
    whose row the schema does not allow becomes a failure with the code COUNTING_FAILED.

    Attributes:
      folder: of the run, local or `gs://`; files are `{folder}/{table}/{unique}.parquet`.
      provenance: the run, as its rows say it.
    """

    folder: str
    provenance: Provenance

    def expand(self, settled: beam.PCollection) -> beam.PCollection:
        """Writes the files of each bundle."""
        return settled | "Write rows" >> beam.ParDo(_WriteRowsFn(self.folder, self.provenance))


def _now() -> datetime.datetime:
    return datetime.datetime.now(datetime.timezone.utc)


class TooManyFailuresError(Exception):
    """More videos failed than a run may have; it was committed all the same."""


@dataclasses.dataclass(frozen=True)
class FailureLimit:
    """How many videos of a run may fail before it is called a failure itself.

    Attributes:
      max_ratio: share of the videos that are not skipped, 0..1.
      min_videos: videos up to which a run is never called so, since one bad file among few says nothing.
    """

    max_ratio: float = 0.05
    min_videos: int = 20

    def __post_init__(self) -> None:
        """Raises ValueError for a share beyond 0..1."""
        if not 0 <= self.max_ratio <= 1:
            raise ValueError(f"max_failure_ratio must be from 0 to 1. Received: {self.max_ratio}")

    def check(self, totals: RunTotals) -> None:
        """Raises TooManyFailuresError if there are too many."""
        settled = totals.counted + totals.failed
        if settled > self.min_videos and totals.failed > self.max_ratio * settled:
            raise TooManyFailuresError(
                f"{totals.failed:,} of {settled:,} videos failed, and --max_failure_ratio allows {self.max_ratio:.1%}; "
                "all were committed, and the view failures_by_code says why they failed"
            )


@dataclasses.dataclass(eq=False)
class CommitRows(beam.PTransform):
    """Commits a run's files when all of them are written, then removes them.

    It is a step of the graph, so that rows are committed where nobody waits for the job too. Takes `{"staged": PCollection of
    StagedFile, "totals": PCollection of one SelectionTotals}` and returns a PCollection of the one `RunTotals`. A run without a
    video commits its own row. A run with too many failures fails when all is committed. The distribution `commit_msec` in the
    namespace "repcount" is the wall time of committing.

    Attributes:
      warehouse: where the rows go.
      provenance: the run, as in `StageRows`.
      failure_limit: how many videos may fail; None if it is not for the pipeline to say.
      clock: returns the time at which the run ends, with its zone. Default: the clock of the machine that commits.
    """

    warehouse: Warehouse
    provenance: Provenance
    failure_limit: FailureLimit | None = None
    clock: Callable[[], datetime.datetime] = _now

    def expand(self, inputs: dict[str, beam.PCollection]) -> beam.PCollection:
        """Commits on a single element; the files are its side input, which is complete when it starts."""
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
            # A commit that is tried again needs the files: they go only when its outcome is safe.
            | "Keep totals" >> beam.Reshuffle()
            | "Remove files" >> beam.Map(_remove_files, self.warehouse, self.provenance)
        )
        if self.failure_limit is not None:
            _ = totals | "Keep removal" >> beam.Reshuffle() | "Check failures" >> beam.Map(self.failure_limit.check)
        return totals


class _WriteRowsFn(beam.DoFn):
    """Writes the rows of a bundle to files and says in which."""

    def __init__(self, folder: str, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._writers: dict[str, TableWriter] = {}  # set in start_bundle()

    def start_bundle(self) -> None:
        """Forgets what an earlier bundle, which may have failed, has written."""
        self._discard()
        self._writers = {table.name: TableWriter(self._folder, table) for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)}

    def process(self, settled: VideoCount | Failure) -> None:
        """Writes the rows of one video."""
        for table, batch in _to_batches(settled, self._provenance):
            self._writers[table.name].write(batch)

    def finish_bundle(self) -> Iterator[WindowedValue]:
        """Closes the files and yields them."""
        for writer in self._writers.values():
            for file in writer.close():
                yield GlobalWindows.windowed_value_at_end_of_window(file)

    def teardown(self) -> None:
        """Closes what a failed bundle left open."""
        self._discard()

    def _discard(self) -> None:
        for writer in self._writers.values():
            writer.discard()
        self._writers = {}


def _to_batches(settled: VideoCount | Failure, provenance: Provenance) -> list[tuple[Table, pa.RecordBatch]]:
    """Returns the rows of a video, each with its table; that of a failure if the schema does not allow those of its count."""
    if isinstance(settled, VideoCount):
        try:
            return [
                (VIDEO_COUNTS, to_record_batch(count_row(settled, provenance), VIDEO_COUNTS)),
                (FRAME_CURVES, to_record_batch(curve_row(settled, provenance), FRAME_CURVES)),
            ]
        except RowError as error:
            _LOGGER.warning("The count of %r cannot be stored: %s", settled.video, error)
            settled = Failure(settled.video, Stage.COUNT, FailureCode.COUNTING_FAILED, str(error))
    return [(FAILURES, to_record_batch(failure_row(settled, provenance), FAILURES))]


def _commit(
    selected: SelectionTotals,
    *,
    warehouse: Warehouse,
    provenance: Provenance,
    clock: Callable[[], datetime.datetime],
    files: list[StagedFile],
) -> RunTotals:
    started_sec = time.monotonic()
    totals = warehouse.commit(provenance, files, listed=selected.listed, skipped=selected.skipped, run_ended=clock())
    Metrics.distribution(METRICS_NAMESPACE, "commit_msec").update(round(1000 * (time.monotonic() - started_sec)))
    _LOGGER.info("Committed run %s: %s", provenance.run_id, totals)
    return totals


def _remove_files(totals: RunTotals, warehouse: Warehouse, provenance: Provenance) -> RunTotals:
    warehouse.remove_staging(provenance.run_id)
    return totals
