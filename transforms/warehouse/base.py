"""Where the rows end up: what any backend promises, whichever database it is.

- Rows are merged on the table's key. Of two runs that settle the same video with the same model and options, the row of the one
  that started later stays, whichever commits first. Committing a run again changes nothing, and no run adds a second row.
- A count stays until a later run's count replaces it. It removes the failure of the same key, and a failure never takes its
  place: the video was counted in this very version, and what went wrong at another time says nothing against that. The row of
  the run still says how many of its videos failed.
- A run that dies at any point leaves tables from which the next run goes on: what has a count or a failure is settled, and
  what has not is still to do.
"""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Collection, Iterator
from typing import Protocol

from model.errors import UserError
from transforms.records import VideoRef
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance, RunTotals

STAGING_KEPT_SEC = 7 * 24 * 3600.0
"""How long what a run that was killed has staged is left."""


class WarehouseError(UserError):
    """The tables cannot take a run's rows or cannot be read, or the run's files do not hold what was written to them."""


@dataclasses.dataclass(frozen=True)
class Selection:
    """Which of the listed videos to count.

    Attributes:
      new_only: leave out what the tables have for this model and these options, be it a count or a failure.
      requeue: codes of failures that are tried again all the same.
      limit: videos at most, those uploaded first; None for all.
    """

    new_only: bool = True
    requeue: tuple[str, ...] = ()
    limit: int | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for a limit below 1, or codes of failures where those are not left out anyway."""
        if self.limit is not None and self.limit < 1:
            raise ValueError(f"limit must be a whole number of at least 1. Received: {self.limit}")
        if self.requeue and not self.new_only:
            raise ValueError(f"requeue is for runs over what is new; others count everything. Received: {list(self.requeue)}")


@dataclasses.dataclass(frozen=True)
class Selected:
    """What a selection came to.

    Attributes:
      listed: different videos listed.
      skipped: those of them that the tables have already.
      left: those that are still to do but beyond the limit.
      videos: the others, to be read once.
    """

    listed: int
    skipped: int
    left: int
    videos: Iterator[VideoRef]


@dataclasses.dataclass(frozen=True)
class TableOptions:
    """What the owner of a data set may ask of its tables; BigQuery's only.

    Attributes:
      location: where to make the data set if it is missing; None refuses a missing one.
      partition_expiration_days: days after the upload after which a video's rows are dropped; None leaves what there is.
      require_partition_filter: whether queries of `frame_curves`, by far the largest table, must name upload dates; None
        leaves what there is.
    """

    location: str | None = None
    partition_expiration_days: int | None = None
    require_partition_filter: bool | None = None


AS_IT_IS = TableOptions()
"""No data set is made, and what there is of options stays."""


class Warehouse(Protocol):
    """Tables for the rows of runs. A pickled one holds only where they are."""

    @property
    def address(self) -> str:
        """Where the tables are, for people."""

    def check(self) -> None:
        """Makes sure, before any work and without writing, that rows can be taken; else raises WarehouseError."""

    def is_ready(self) -> bool:
        """Tells whether all tables are there, so that they can be read; writes nothing."""

    def changes(self, options: TableOptions = AS_IT_IS) -> list[str]:
        """Returns what `prepare` would create or add, a line each; raises WarehouseError if tables have another shape."""

    def prepare(self, options: TableOptions = AS_IT_IS) -> None:
        """Creates the tables and views, or adds what they lack; drops none. Removes what runs killed long ago left staged."""

    def staging_folder(self, run_id: str) -> str:
        """Returns the folder that holds a run's files, and nothing else, until they are committed."""

    def select(self, provenance: Provenance, files: Collection[StagedFile], selection: Selection) -> Selected:
        """Finds out which of the videos in a run's listing to count.

        Args:
          provenance: the run, whose model and options decide what is new.
          files: the listing, of `schema.LISTING`.
          selection: which videos.

        Raises:
          WarehouseError: the tables cannot be read, or the files do not hold what was written to them.
        """

    def commit(
        self, provenance: Provenance, files: Collection[StagedFile], *, listed: int, skipped: int, run_ended: datetime.datetime
    ) -> RunTotals:
        """Merges a run's files and its own row into the tables; once or many times, to the same effect.

        The run's own row comes last: where it is, all the others are.

        Args:
          provenance: the run.
          files: all that it staged.
          listed: videos that it listed.
          skipped: videos that it left out since the tables had them.
          run_ended: now.

        Returns:
          What became of the run's videos.

        Raises:
          WarehouseError: the rows could not be committed, or the files do not hold what was written to them.
        """

    def remove_staging(self, run_id: str) -> None:
        """Removes what a run staged, once its commit is safe; what cannot be removed is logged and left."""

    def forget(self, uris: Collection[str], before: datetime.date | None, dry_run: bool) -> dict[str, int]:
        """Deletes the rows of videos from every table.

        Args:
          uris: addresses of videos, of which all versions go.
          before: all videos uploaded before this day go, too; None for none.
          dry_run: only say what would go.

        Returns:
          Number of rows by table.
        """


def check_number(table: str, files: Collection[StagedFile], actual: int) -> None:
    """Raises WarehouseError unless a table's staged files hold as many rows as were written to them."""
    expected = sum(file.num_rows for file in files)
    if actual != expected:
        raise WarehouseError(f"the files staged for {table} must hold the {expected} rows written to them. Received: {actual}")


def check_curves(counts: int, curves: int, run_id: str) -> None:
    """Raises WarehouseError unless there are as many staged curves as counts."""
    if counts != curves:
        raise WarehouseError(
            f"every staged count must have a curve. Received: {counts} counts and {curves} curves of run {run_id}"
        )
