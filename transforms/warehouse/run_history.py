"""What the tables say of runs and videos, asked in the same words of either database."""

from __future__ import annotations

import abc
import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.records import VideoResult
from transforms.warehouse import sql as statements
from transforms.warehouse.rows import RunTotals, UploadDates
from transforms.warehouse.sql import Dialect


@dataclasses.dataclass(frozen=True)
class Pace:
    """What earlier runs tell of the next one.

    Attributes:
      size_bytes: of all counted videos together.
      duration_sec: of the same videos.
      run_video_sec: seconds of video of all runs with the model.
      run_wall_sec: seconds that these runs took.
    """

    size_bytes: int
    duration_sec: float
    run_video_sec: float
    run_wall_sec: float


class RunHistory(abc.ABC):
    """Reads tables; what a database has to do for it is to answer queries."""

    @property
    @abc.abstractmethod
    def dialect(self) -> Dialect:
        """How queries are spelled."""

    @abc.abstractmethod
    def query(self, sql: str, parameters: Mapping[str, Any]) -> Iterator[tuple[Any, ...]]:
        """Yields the rows of a query; raises WarehouseError."""

    def run_totals(self, run_id: str) -> RunTotals | None:
        """Returns what became of a run's videos; None if that run did not commit."""
        return self._read_run(run_id)[0]

    def run_results(self, run_id: str, limit: int) -> list[VideoResult]:
        """Returns what a run made of its videos, at most `limit` of them, in the order of their addresses.

        Only rows in the tables are results. So these are fewer than the run's totals say: a video that it skipped has none, one
        that a later run settled is that run's, and one that failed while the tables have its count is left out. Reads only the
        partitions that the run wrote to.
        """
        _, dates = self._read_run(run_id)
        if dates is None:
            return []
        parameters = {"run_id": run_id, "limit": limit, "first_date": dates.first, "last_date": dates.last}
        return [
            VideoResult(uri, count, confidence, duration_sec, tuple(flags), code, message)
            for uri, count, confidence, duration_sec, flags, code, message in self.query(
                statements.run_results(self.dialect), parameters
            )
        ]

    def num_run_results(self, run_id: str) -> int:
        """Returns how many results of a run there are, which is what `run_results` returns without a limit."""
        _, dates = self._read_run(run_id)
        if dates is None:
            return 0
        parameters = {"run_id": run_id, "first_date": dates.first, "last_date": dates.last}
        ((num_results,),) = self.query(statements.num_run_results(self.dialect), parameters)
        return int(num_results)

    def pace(self, model: str) -> Pace:
        """Returns what earlier runs tell of the next one with a model."""
        ((size_bytes, duration_sec),) = self.query(statements.sizes(self.dialect), {})
        ((video_sec, wall_sec),) = self.query(statements.run_times(self.dialect), {"model": model})
        return Pace(int(size_bytes), duration_sec, video_sec, wall_sec)

    def _read_run(self, run_id: str) -> tuple[RunTotals | None, UploadDates | None]:
        rows = list(self.query(statements.run_totals(self.dialect), {"run_id": run_id}))
        if not rows:
            return None, None
        ((*totals, first_date, last_date),) = rows
        return RunTotals(*totals), None if first_date is None else UploadDates(first_date, last_date)
