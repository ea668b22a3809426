"""Listing: finds the videos that patterns match and writes them into files. See `transforms.objects` for patterns."""

from __future__ import annotations

import collections
import dataclasses
import logging
import os
from collections.abc import Iterator, Sequence

import apache_beam as beam
from apache_beam.metrics import Metrics

from transforms.left_out import MAX_NAMED_LOST, OTHER_SUFFIX_KIND, LeftOut, is_suffix_kind
from transforms.machine_faults import machine_faults
from transforms.matching import VIDEO_SUFFIXES, ListingFilter, batched, match_objects
from transforms.records import METRICS_NAMESPACE, VideoRef
from transforms.warehouse.parquet import ROW_GROUP_ROWS, StagedFile, TableWriter
from transforms.warehouse.rows import listing_batch
from transforms.warehouse.schema import LISTING

_LOGGER = logging.getLogger(__name__)

_COUNTED_SUFFIXES = 40
"""Most suffixes with a counter of their own. Names may end with anything, and Dataflow limits the counters of a job."""


MAX_NAMED = 20
"""Most names of a kind and pattern that are logged, at the level INFO. A job's workers log that, and beside each of a million
videos may be a picture."""


@dataclasses.dataclass(eq=False)
class ListVideos(beam.PTransform):
    """Lists the videos that patterns match, on the workers: a PCollection of `StagedFile` with rows of `LISTING`.

    The videos are rows of files, not elements, because most of them were counted in an earlier run. The tables find out which
    from the files in one query, and only the others go through the pipeline. A video that several patterns match is listed once
    for each.

    Metrics, in the namespace "repcount": the counter `objects_skipped` counts all matches that are left out, and one counter
    `objects_skipped_KIND` for each `LeftOut.kind` says why. Names that cannot be looked at are also logged as errors, and
    the first `MAX_NAMED` others of each kind as infos.

    Attributes:
      patterns: Paths, directories or patterns, local or of any file system that Beam supports (`gs://…`).
      folder: Folder of the run, local or `gs://`. Files are named `{folder}/listing/{unique}.parquet`.
      suffixes: Lower-case suffixes that make an object a video. A pattern without a wildcard takes any suffix.
      listing_filter: Filter applied to matched videos: dates and sample.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
    """

    patterns: Sequence[str]
    folder: str
    suffixes: Sequence[str] = VIDEO_SUFFIXES
    listing_filter: ListingFilter = dataclasses.field(default_factory=ListingFilter)
    billing_project: str | None = None

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Lists each pattern."""
        return (
            pbegin
            | "Create patterns" >> beam.Create([os.fsencode(pattern) for pattern in self.patterns])
            | "List objects"
            >> beam.ParDo(ListFn(self.folder, self.suffixes, self.listing_filter, self.billing_project)).with_output_types(
                StagedFile
            )
        )


class ListFn(beam.DoFn):
    """Lists one pattern into files and counts the objects that are not videos. `process` needs no pipeline.

    Attributes:
      left_out: Number of names that were left out, by the kind as which they are counted.
    """

    def __init__(
        self, folder: str, suffixes: Sequence[str], listing_filter: ListingFilter, billing_project: str | None
    ) -> None:
        """Takes the attributes of `ListVideos` that have these names."""
        self._folder = folder
        self._suffixes = suffixes
        self._filter = listing_filter
        self._billing_project = billing_project
        self._skipped = Metrics.counter(METRICS_NAMESPACE, "objects_skipped")
        self.left_out = collections.Counter[str]()

    def process(self, element: bytes) -> Iterator[StagedFile]:
        """Yields the files that hold the videos that the pattern matches.

        Raises:
          MachineFaultError: The pattern cannot be listed, or the files cannot be written.
        """
        pattern = os.fsdecode(element)
        writer = TableWriter(self._folder, LISTING)
        try:
            for videos in batched(self._wanted(pattern), ROW_GROUP_ROWS):
                with machine_faults(f"write the listing to {self._folder}"):
                    writer.write(listing_batch(videos))
            with machine_faults(f"write the listing to {self._folder}"):
                files = writer.close()
            yield from files
        finally:
            writer.discard()

    def _wanted(self, pattern: str) -> Iterator[VideoRef]:
        with machine_faults(f"list {pattern!r}"):
            yield from self._listed(pattern)

    def _listed(self, pattern: str) -> Iterator[VideoRef]:
        lost, named, unnamed = 0, collections.Counter[str](), 0
        for found in match_objects(pattern, self._suffixes, billing_project=self._billing_project):
            if isinstance(found, VideoRef):
                if self._filter.takes(found):
                    yield found
                continue
            kind = self._count(found)
            lost += found.is_lost
            if found.is_lost and lost <= MAX_NAMED_LOST:
                _LOGGER.error("%s", found)
            elif not found.is_lost and named[kind] < MAX_NAMED:
                named[kind] += 1
                _LOGGER.info("%s", found)
            else:
                unnamed += not found.is_lost
        if unnamed:
            _LOGGER.info("%d more names that %r matches are left out", unnamed, pattern)
        if lost > MAX_NAMED_LOST:
            _LOGGER.error("%d more names that %r matches cannot be looked at", lost - MAX_NAMED_LOST, pattern)

    def _count(self, left_out: LeftOut) -> str:
        """Counts a name and returns the kind as which it is counted."""
        kind = left_out.kind
        if is_suffix_kind(kind) and kind not in self.left_out and sum(map(is_suffix_kind, self.left_out)) >= _COUNTED_SUFFIXES:
            kind = OTHER_SUFFIX_KIND
        self.left_out[kind] += 1
        self._skipped.inc()
        Metrics.counter(METRICS_NAMESPACE, f"objects_skipped_{kind}").inc()
        return kind
