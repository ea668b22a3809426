"""Selection: of the listed videos, those that are to be counted; most nights that is few of many."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.records import METRICS_NAMESPACE, VideoRef
from transforms.warehouse.base import Selection, Warehouse
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance

_LOGGER = logging.getLogger(__name__)

_NUMBERS = "numbers"


@dataclasses.dataclass(frozen=True)
class SelectionTotals:
    """What a selection came to.

    Attributes:
      listed: different videos listed, less those that are `left`.
      skipped: those of them that are not counted, since the tables have them.
      left: those that are to do but beyond the limit. They are left to another run, and no part of this one.
    """

    listed: int
    skipped: int
    left: int

    @property
    def selected(self) -> int:
        """Videos to count in this run."""
        return self.listed - self.skipped


@dataclasses.dataclass(eq=False)
class SelectVideos(beam.PTransform):
    """Leaves out the videos that the tables have already.

    Takes a PCollection of `StagedFile` with rows of `LISTING` and returns `{"videos": PCollection of VideoRef, each once,
    "totals": PCollection of one SelectionTotals}`. The tables' database joins the listing with its rows: it has these, and an
    index or partitions of them, so that neither a large table nor a long listing goes through the pipeline. The videos have
    been through a shuffle, so that the steps that follow are spread over the workers. The counters `videos_selected` and
    `videos_skipped` are in the namespace "repcount".

    Attributes:
      warehouse: whose tables.
      provenance: the run, whose model and options decide what is new.
      selection: which videos.
    """

    warehouse: Warehouse
    provenance: Provenance
    selection: Selection

    def expand(self, listed: beam.PCollection) -> dict[str, beam.PCollection]:
        """Selects on a single element; the files are its side input, which is complete when it starts."""
        selected = (
            listed.pipeline
            | "One selection" >> beam.Create([self.selection], reshuffle=False)
            | "Select"
            >> beam.ParDo(_SelectFn(self.warehouse, self.provenance), beam.pvalue.AsList(listed)).with_outputs(
                _NUMBERS, main="videos"
            )
        )
        videos = selected["videos"] | "Share out" >> beam.Reshuffle().with_output_types(VideoRef)
        return {"videos": videos, "totals": selected[_NUMBERS]}


class _SelectFn(beam.DoFn):
    """Asks the database."""

    def __init__(self, warehouse: Warehouse, provenance: Provenance) -> None:
        self._warehouse = warehouse
        self._provenance = provenance

    def process(self, selection: Selection, files: list[StagedFile]) -> Iterator[VideoRef | beam.pvalue.TaggedOutput]:
        """Yields the videos, and the totals beside them."""
        selected = self._warehouse.select(self._provenance, files, selection)
        totals = SelectionTotals(selected.listed - selected.left, selected.skipped, selected.left)
        Metrics.counter(METRICS_NAMESPACE, "videos_selected").inc(totals.selected)
        Metrics.counter(METRICS_NAMESPACE, "videos_skipped").inc(totals.skipped)
        _LOGGER.info("Selected %d videos of run %s: %s", totals.selected, self._provenance.run_id, totals)
        yield beam.pvalue.TaggedOutput(_NUMBERS, totals)
        yield from selected.videos
