"""Selects which of the listed videos to count: usually a few new ones among many that the tables already have."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterator

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.records import METRICS_NAMESPACE, Selection, VideoRef
from transforms.warehouse.base import Warehouse
from transforms.warehouse.parquet import StagedFile
from transforms.warehouse.rows import Provenance

_LOGGER = logging.getLogger(__name__)

_TOTALS = "totals"


@dataclasses.dataclass(eq=False)
class SelectVideos(beam.PTransform):
    """Drops listed videos that the tables already have.

    Takes a PCollection of `StagedFile` with rows of `LISTING`. Returns `{"videos": PCollection of VideoRef, each once,
    "totals": PCollection of one SelectionTotals}`. The database joins the listing with its own rows, so neither a large table
    nor a long listing passes through the pipeline. The videos are reshuffled, so all workers share the following steps.
    Metrics: counters `videos_selected` and `videos_skipped` in the namespace "repcount".

    Attributes:
      warehouse: Tables to compare the listing with.
      provenance: The run, whose model and options decide which videos are new.
      selection: Which of the listed videos to count.
    """

    warehouse: Warehouse
    provenance: Provenance
    selection: Selection

    def expand(self, listed: beam.PCollection) -> dict[str, beam.PCollection]:
        """Selects once; the files are a side input, so the listing is complete when the selection starts."""
        selected = (
            listed.pipeline
            | "One selection" >> beam.Create([self.selection], reshuffle=False)
            | "Select"
            >> beam.ParDo(_SelectFn(self.warehouse, self.provenance), beam.pvalue.AsList(listed)).with_outputs(
                _TOTALS, main="videos"
            )
        )
        videos = selected["videos"] | "Distribute" >> beam.Reshuffle().with_output_types(VideoRef)
        return {"videos": videos, "totals": selected[_TOTALS]}


class _SelectFn(beam.DoFn):
    """Asks the database which videos to count."""

    def __init__(self, warehouse: Warehouse, provenance: Provenance) -> None:
        self._warehouse = warehouse
        self._provenance = provenance

    def process(self, selection: Selection, files: list[StagedFile]) -> Iterator[VideoRef | beam.pvalue.TaggedOutput]:
        """Yields the selected videos, and their totals as a tagged output."""
        totals, videos = self._warehouse.select(self._provenance, files, selection)
        Metrics.counter(METRICS_NAMESPACE, "videos_selected").inc(totals.selected)
        Metrics.counter(METRICS_NAMESPACE, "videos_skipped").inc(totals.skipped)
        _LOGGER.info("Selected %d videos for run %s: %s", totals.selected, self._provenance.run_id, totals)
        yield beam.pvalue.TaggedOutput(_TOTALS, totals)
        yield from videos
