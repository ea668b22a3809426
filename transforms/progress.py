"""Progress of a run on this machine, in two files: one has the number of videos to count, one grows with each that is done."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator

import apache_beam as beam

from transforms.records import ChunkScores, Failure, SelectionTotals

_TOTALS_SUFFIX = ".totals"


@dataclasses.dataclass(eq=False)
class MarkProgress(beam.PTransform):
    """Passes `ChunkScores` and `Failure`s on and adds a mark to a file for each video that is done.

    Beam's runner in this process reports nothing, not even metrics, until it has finished. A retried video is marked again, so
    the file is good for a progress display only.

    Attributes:
      path: Local path of the file.
    """

    path: str

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Marks each video in one step."""
        return scored | "Mark" >> beam.ParDo(_MarkFn(self.path)).with_output_types(ChunkScores | Failure)


@dataclasses.dataclass(eq=False)
class WriteTotals(beam.PTransform):
    """Passes the one `SelectionTotals` of a run on and writes it to a file beside that of `MarkProgress`.

    Attributes:
      path: Local path of the file of `MarkProgress`.
    """

    path: str

    def expand(self, totals: beam.PCollection) -> beam.PCollection:
        """Writes the totals in one step."""
        return totals | "Write" >> beam.Map(_write_totals, self.path).with_output_types(SelectionTotals)


def read_totals(path: str) -> SelectionTotals | None:
    """Returns the totals of the selection, or None if it has not finished."""
    try:
        with open(path + _TOTALS_SUFFIX, encoding="utf-8") as file:
            return SelectionTotals(**json.load(file))
    except FileNotFoundError:
        return None


def finished_videos(path: str) -> int:
    """Returns the number of videos marked as done."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _write_totals(totals: SelectionTotals, path: str) -> SelectionTotals:
    unfinished = f"{path}{_TOTALS_SUFFIX}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(totals), file)
    os.replace(unfinished, path + _TOTALS_SUFFIX)
    return totals


class _MarkFn(beam.DoFn):
    """Appends one byte for the last chunk of a video, or for its failure."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, item: ChunkScores | Failure) -> Iterator[ChunkScores | Failure]:
        """Yields the item unchanged."""
        if isinstance(item, Failure) or item.facts is not None:
            with open(self._path, "ab") as file:
                file.write(b".")
        yield item
