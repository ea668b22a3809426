"""Progress of a run on this machine: a file that says how much there is to do, and one that grows with what is done."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterator

import apache_beam as beam

from transforms.records import ChunkScores, Failure
from transforms.selection import SelectionTotals

_TOTALS_SUFFIX = ".totals"


@dataclasses.dataclass(eq=False)
class MarkProgress(beam.PTransform):
    """Lets `ChunkScores` and `Failure`s through, and marks each video's end in a file.

    A runner in this process tells nothing before it is done, and metrics come last of all. A video that is tried again is
    marked again: the file is for people to look at, not for counting.

    Attributes:
      path: of the file, local.
    """

    path: str

    def expand(self, scored: beam.PCollection) -> beam.PCollection:
        """Marks in passing."""
        return scored | "Mark" >> beam.ParDo(_MarkFn(self.path)).with_output_types(ChunkScores | Failure)


@dataclasses.dataclass(eq=False)
class WriteTotals(beam.PTransform):
    """Lets the one `SelectionTotals` of a run through, and writes it beside the file of `MarkProgress`.

    Attributes:
      path: of that file.
    """

    path: str

    def expand(self, totals: beam.PCollection) -> beam.PCollection:
        """Writes in passing."""
        return totals | "Tell" >> beam.Map(_tell, self.path).with_output_types(SelectionTotals)


def read_totals(path: str) -> SelectionTotals | None:
    """Returns what a selection came to; None until then."""
    try:
        with open(path + _TOTALS_SUFFIX, encoding="utf-8") as file:
            return SelectionTotals(**json.load(file))
    except FileNotFoundError:
        return None


def finished_videos(path: str) -> int:
    """Returns how many videos are marked; 0 before the first."""
    try:
        return os.stat(path).st_size
    except OSError:
        return 0


def _tell(totals: SelectionTotals, path: str) -> SelectionTotals:
    unfinished = f"{path}{_TOTALS_SUFFIX}.unfinished"
    with open(unfinished, "w", encoding="utf-8") as file:
        json.dump(dataclasses.asdict(totals), file)
    os.replace(unfinished, path + _TOTALS_SUFFIX)
    return totals


class _MarkFn(beam.DoFn):
    """Appends a byte for the last chunk of a video, or its failure."""

    def __init__(self, path: str) -> None:
        self._path = path

    def process(self, item: ChunkScores | Failure) -> Iterator[ChunkScores | Failure]:
        """Yields what comes."""
        if isinstance(item, Failure) or item.facts is not None:
            with open(self._path, "ab") as file:
                file.write(b".")
        yield item
