"""How many videos of a run may fail before the run itself counts as failed."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from transforms.warehouse.rows import RunTotals


class TooManyFailuresError(Exception):
    """More videos failed than the run allows. All rows are committed nevertheless."""


@dataclasses.dataclass(frozen=True)
class FailureLimit:
    """How many videos may fail before the whole run counts as failed.

    Attributes:
      max_ratio: Maximum share of failed videos among those not skipped, 0..1. Default: 0.05.
      min_videos: Number of videos up to which a run never counts as failed, since one of few means little. Default: 20.
    """

    max_ratio: float = 0.05
    min_videos: int = 20

    def __post_init__(self) -> None:
        """Raises ValueError if `max_ratio` is outside 0..1."""
        if not 0 <= self.max_ratio <= 1:
            raise ValueError(f"max_failure_ratio must be from 0 to 1. Received: {self.max_ratio}")

    def check(self, totals: RunTotals) -> None:
        """Raises TooManyFailuresError if too many videos failed."""
        finished = totals.counted + totals.failed
        if finished > self.min_videos and totals.failed / finished > self.max_ratio:
            raise TooManyFailuresError(
                f"{totals.failed:,} of {finished:,} videos failed, more than the {self.max_ratio:.1%} that --max_failure_ratio "
                "allows. All rows are committed; the view failures_by_code shows the causes, and the log those of videos that "
                "keep a count"
            )
