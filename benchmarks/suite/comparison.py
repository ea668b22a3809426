"""A comparison: one measured thing against another of the same run, and how to show both."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from benchmarks.suite.figures import FiguresError

Side = Callable[[Mapping[str, Any]], float]
"""Finds one figure in a benchmark's results; raises `FiguresError` if it is not there."""


class Ratio(enum.Enum):
    """How two sides are related; the value is the text after the number."""

    TIMES_FASTER = "× as fast"  # of times: that of the other divided by ours
    RATE = "× the rate"
    TIME = "× the time"
    MEMORY = "× the memory"
    SIZE = "× the bytes"

    def of(self, ours: float, other: float) -> float:
        """Returns the ratio of two sides."""
        return other / ours if self is Ratio.TIMES_FASTER else ours / other


@dataclasses.dataclass(frozen=True)
class Comparison:
    """One row of the page: what was measured, against what.

    Attributes:
      what: What was measured.
      against: What it is compared with; "" if with nothing.
      ours: Figure of the first.
      other: Figure of the second; None if there is none.
      unit: Unit of both figures.
      digits: Digits after the decimal point of both figures.
      ratio: How the two are related.
      in_readme: Whether the README quotes it, too.
    """

    what: str
    against: str
    ours: Side
    other: Side | None
    unit: str
    digits: int = 0
    ratio: Ratio = Ratio.RATE
    in_readme: bool = False


def figure(*keys: str | Mapping[str, Any]) -> Side:
    """Returns the side that such keys lead to, from the outermost in.

    A key of a list is a mapping: it selects the first item that has all its fields.
    """

    def find(results: Mapping[str, Any]) -> float:
        found: Any = results
        for key in keys:
            if isinstance(key, str):
                found = found.get(key) if isinstance(found, Mapping) else None
            else:
                items = found if isinstance(found, list) else []
                found = next((item for item in items if key.items() <= item.items()), None)
            if found is None:
                raise FiguresError(f"the results have no figure {' / '.join(map(str, keys))}")
        return float(found)

    return find


def scaled(side: Side, factor: float) -> Side:
    """Returns a side in another unit."""
    return lambda results: side(results) * factor


def inverse(side: Side, factor: float = 1.0) -> Side:
    """Returns `factor` divided by a side: 1,000 makes frames a second of milliseconds a frame."""
    return lambda results: factor / side(results)


def quotient(side: Side, divisor: Side) -> Side:
    """Returns one side divided by another."""
    return lambda results: side(results) / divisor(results)


def missing_figures(comparisons: Iterable[Comparison], results: Mapping[str, Any]) -> Iterator[str]:
    """Yields a message for each figure that the results lack."""
    for side in (side for comparison in comparisons for side in (comparison.ours, comparison.other) if side):
        try:
            side(results)
        except FiguresError as error:
            yield str(error)
