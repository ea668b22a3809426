"""Staging: a run's rows wait in Parquet files of its own until one last step of the pipeline commits them all.

Files are written by a DoFn rather than Beam's `WriteToParquet`, which does not bound a file's size, does not say how many rows
it wrote, and moves every file once more under a side input, for each table apart.
"""

from __future__ import annotations

import dataclasses
import datetime
import logging
import time
import uuid
from collections.abc import Callable, Iterator
from typing import BinaryIO

import apache_beam as beam
import pyarrow as pa
import pyarrow.parquet as pq
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics
from apache_beam.transforms.window import GlobalWindows
from apache_beam.utils.windowed_value import WindowedValue

from transforms.records import METRICS_NAMESPACE, Failure, FailureCode, Stage, VideoCount
from transforms.rows import Provenance, RowError, RunTotals, count_row, curve_row, failure_row, to_record_batch
from transforms.schema import FAILURES, FRAME_CURVES, VIDEO_COUNTS, Table
from transforms.warehouse import StagedFile, Warehouse

ROW_GROUP_BYTES = 16 * 1024 * 1024
"""Bytes of rows in memory from which a row group is written."""

ROW_GROUP_ROWS = 1024
"""Rows from which a row group is written: the many small arrays of a row take some forty times its own bytes until then."""

FILE_BYTES = 64 * 1024 * 1024
"""Bytes of rows in memory from which a file is closed and the next one begun."""

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


@dataclasses.dataclass(eq=False)
class CommitRows(beam.PTransform):
    """Commits a run's files when all of them are written, then removes them.

    It is a step of the graph, so that rows are committed where nobody waits for the job too. Takes `{"staged": PCollection of
    StagedFile, "listed": PCollection of videos}` and, optionally, `"skipped"`: videos that were listed and left out. Returns a
    PCollection of the one `RunTotals`. A run without a video commits its own row. The distribution `commit_msec` in the
    namespace "repcount" is the wall time of committing.

    Attributes:
      warehouse: where the rows go.
      provenance: the run, as in `StageRows`.
      clock: returns the time at which the run ends, with its zone. Default: the clock of the machine that commits.
    """

    warehouse: Warehouse
    provenance: Provenance
    clock: Callable[[], datetime.datetime] = _now

    def expand(self, inputs: dict[str, beam.PCollection]) -> beam.PCollection:
        """Commits on a single element; the files and numbers are its side inputs, which are complete when it starts."""
        pipeline = inputs["staged"].pipeline
        skipped = inputs.get("skipped") or pipeline | "Nothing skipped" >> beam.Create([])
        totals = (
            pipeline
            | "One commit" >> beam.Create([self.provenance], reshuffle=False)
            | "Commit"
            >> beam.Map(
                _commit,
                warehouse=self.warehouse,
                clock=self.clock,
                files=beam.pvalue.AsList(inputs["staged"]),
                listed=_number_of(inputs["listed"], "listed"),
                skipped=_number_of(skipped, "skipped"),
            )
        )
        # A commit that is tried again needs the files: they go only when its outcome is safe.
        _ = (
            totals
            | "Keep totals" >> beam.Reshuffle()
            | "Remove files" >> beam.Map(_remove_files, self.warehouse, self.provenance)
        )
        return totals


class _WriteRowsFn(beam.DoFn):
    """Writes the rows of a bundle to files and says in which."""

    def __init__(self, folder: str, provenance: Provenance) -> None:
        self._folder = folder
        self._provenance = provenance
        self._writers: dict[str, _TableWriter] = {}  # set in start_bundle()

    def start_bundle(self) -> None:
        """Forgets what an earlier bundle, which may have failed, has written."""
        self._discard()
        self._writers = {table.name: _TableWriter(self._folder, table) for table in (VIDEO_COUNTS, FRAME_CURVES, FAILURES)}

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


@dataclasses.dataclass
class _OpenFile:
    path: str
    stream: BinaryIO
    parquet: pq.ParquetWriter
    num_rows: int = 0
    num_bytes: int = 0


class _TableWriter:
    """Writes rows of one table to as many files as their size asks for; opens none without a row."""

    def __init__(self, folder: str, table: Table) -> None:
        self._folder = folder
        self._table = table
        self._pending: list[pa.RecordBatch] = []
        self._pending_bytes = 0
        self._open: _OpenFile | None = None
        self._files: list[StagedFile] = []

    def write(self, batch: pa.RecordBatch) -> None:
        """Takes rows; writes them when they make a row group."""
        self._pending.append(batch)
        self._pending_bytes += batch.nbytes
        if self._pending_bytes >= ROW_GROUP_BYTES or len(self._pending) >= ROW_GROUP_ROWS:
            self._write_row_group()

    def close(self) -> list[StagedFile]:
        """Writes what is pending and returns all files written."""
        if self._pending:
            self._write_row_group()
        if self._open is not None:
            self._close_file(self._open)
        return self._files

    def discard(self) -> None:
        """Closes the file that a failed bundle left open; nobody is told of it, and it goes with the folder."""
        if self._open is None:
            return
        for stream in (self._open.parquet, self._open.stream):
            try:
                stream.close()
            except Exception:  # what failed the bundle, such as a full disk, may well fail this too
                _LOGGER.debug("A file of a failed bundle could not be closed: %s", self._open.path, exc_info=True)
        self._open = None

    def _write_row_group(self) -> None:
        if self._open is None:
            path = FileSystems.join(self._folder, self._table.name, f"{uuid.uuid4().hex}.parquet")
            stream = FileSystems.create(path)
            self._open = _OpenFile(path, stream, pq.ParquetWriter(stream, self._table.arrow_schema, compression="zstd"))
        rows = pa.Table.from_batches(self._pending)
        self._open.parquet.write_table(rows, row_group_size=rows.num_rows)
        self._open.num_rows += rows.num_rows
        self._open.num_bytes += self._pending_bytes
        self._pending, self._pending_bytes = [], 0
        if self._open.num_bytes >= FILE_BYTES:
            self._close_file(self._open)

    def _close_file(self, file: _OpenFile) -> None:
        file.parquet.close()
        file.stream.close()
        self._files.append(StagedFile(self._table.name, file.path, file.num_rows, file.num_bytes))
        self._open = None


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


def _number_of(videos: beam.PCollection, kind: str) -> beam.pvalue.AsSingleton:
    return beam.pvalue.AsSingleton(videos | f"Count {kind}" >> beam.combiners.Count.Globally())


def _commit(
    provenance: Provenance,
    *,
    warehouse: Warehouse,
    clock: Callable[[], datetime.datetime],
    files: list[StagedFile],
    listed: int,
    skipped: int,
) -> RunTotals:
    started_sec = time.monotonic()
    totals = warehouse.commit(provenance, files, listed=listed, skipped=skipped, run_ended=clock())
    Metrics.distribution(METRICS_NAMESPACE, "commit_msec").update(round(1000 * (time.monotonic() - started_sec)))
    _LOGGER.info("Committed run %s: %s", provenance.run_id, totals)
    return totals


def _remove_files(_: RunTotals, warehouse: Warehouse, provenance: Provenance) -> None:
    warehouse.remove_staging(provenance.run_id)
