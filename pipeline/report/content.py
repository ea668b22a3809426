"""What a report shows: plain records, read by `data` and rendered by `page`."""

from __future__ import annotations

import dataclasses
import datetime
from collections.abc import Mapping, Sequence

HISTOGRAM_BINS = 10
"""Number of equally wide bins from 0 to 1 of a distribution."""


@dataclasses.dataclass(frozen=True)
class Scope:
    """The rows of `video_counts` and `failures` that a page is about: those of a run, or those of some upload dates.

    Attributes:
      name: Id of the run, or the dates.
      run_ids: Ids of the run in the tables: one for each slice. Empty for upload dates.
      dates: Upload dates (UTC) of the rows, ascending. Empty for a run without rows.
      model: Model that counted.
      options_hash: Identifier of the options.
      started: Time at which the run started; for upload dates, the latest run with rows.
    """

    name: str
    run_ids: tuple[str, ...]
    dates: tuple[datetime.date, ...]
    model: str
    options_hash: str
    started: datetime.datetime | None = None

    @property
    def is_run(self) -> bool:
        """Whether the page is about a run, not about upload dates."""
        return bool(self.run_ids)


@dataclasses.dataclass(frozen=True)
class Totals:
    """Numbers of a scope.

    Attributes:
      counted: Number of videos counted.
      failed: Number of videos that could not be counted.
      in_tables: Number of counts in the tables, from which the numbers below are. A later run may have replaced some.
      repeating: Number of counts above 0.
      repetitions: Sum of all counts.
      video_sec: Seconds of all counted videos.
      mean_confidence: Mean confidence of the counts above 0. None if there are none.
      mean_certainty: Mean certainty of all counts that have one. None if there are none.
      listed: Number of videos listed. None for upload dates.
      skipped: Number of videos that the tables had already. None for upload dates.
      wall_sec: Seconds that the run took; of a run in slices, the sum. None for upload dates.
    """

    counted: int
    failed: int
    in_tables: int = 0
    repeating: int = 0
    repetitions: float = 0.0
    video_sec: float = 0.0
    mean_confidence: float | None = None
    mean_certainty: float | None = None
    listed: int | None = None
    skipped: int | None = None
    wall_sec: float | None = None


@dataclasses.dataclass(frozen=True)
class Day:
    """Numbers of an upload date, or of several days in a row.

    Attributes:
      first: First date (UTC).
      last: Last date (UTC).
      counted: Number of videos counted.
      failed: Number of videos that could not be counted.
      repetitions: Sum of all counts.
      video_hours: Hours of counted video.
      in_scope: Whether the page is about one of these dates.
    """

    first: datetime.date
    last: datetime.date
    counted: int = 0
    failed: int = 0
    repetitions: float = 0.0
    video_hours: float = 0.0
    in_scope: bool = False


@dataclasses.dataclass(frozen=True)
class FailureGroup:
    """The failures with one code.

    Attributes:
      code: The code. It may be of another version of the program, and unknown to this one.
      videos: Number of videos.
      example_uri: URI of one of them.
      example_message: Why that one failed.
    """

    code: str
    videos: int
    example_uri: str
    example_message: str


@dataclasses.dataclass(frozen=True)
class LongVideo:
    """A video that took long, since it is long.

    Attributes:
      uri: URI of the video.
      duration_sec: Seconds of video.
      scored_frames: Number of frames scored.
      size_bytes: Size of the file.
      width: Width in pixels.
      height: Height in pixels.
      count: Number of repetitions.
    """

    uri: str
    duration_sec: float
    scored_frames: int
    size_bytes: int
    width: int
    height: int
    count: float


@dataclasses.dataclass(frozen=True)
class Curve:
    """The curve of a video in at most `data.CURVE_POINTS` points.

    Attributes:
      times_sec: Times in seconds, ascending.
      counts: Number of repetitions until each time.
      periodicity: Mean periodicity of the frames since the point before, 0..1.
    """

    times_sec: Sequence[float]
    counts: Sequence[float]
    periodicity: Sequence[float]


@dataclasses.dataclass(frozen=True)
class ReviewedVideo:
    """A count that somebody should check.

    Attributes:
      uri: URI of the video.
      generation: Version of the video.
      upload_date: Date (UTC) of its upload.
      updated: Time of its upload.
      size_bytes: Size of the file.
      count: Number of repetitions, fractions included.
      count_rounded: Number of repetitions.
      confidence: Confidence of the count, 0..1.
      certainty: Probability, 0..1, that the count is within one of the true number. None if unknown.
      best_score: Best score of a stride, 0..1.
      duration_sec: Seconds of video. None if unknown.
      width: Width in pixels, after rotation.
      height: Height in pixels, after rotation.
      flags: Names of the flags of the count.
      segments: Start and end in seconds of each set.
      repetition_times_sec: Times at which repetitions were complete.
    """

    uri: str
    generation: int
    upload_date: datetime.date
    updated: datetime.datetime
    size_bytes: int
    count: float
    count_rounded: int
    confidence: float
    certainty: float | None
    best_score: float
    duration_sec: float | None
    width: int
    height: int
    flags: tuple[str, ...]
    segments: tuple[tuple[float, float], ...]
    repetition_times_sec: tuple[float, ...]


@dataclasses.dataclass(frozen=True)
class Difference:
    """A video that two models count differently.

    Attributes:
      uri: URI of the video.
      count: Count of the page's model.
      other_count: Count of the other model.
      confidence: Confidence of the page's model.
      other_confidence: Confidence of the other model.
    """

    uri: str
    count: float
    other_count: float
    confidence: float
    other_confidence: float


@dataclasses.dataclass(frozen=True)
class Comparison:
    """How another model counts the videos of the page.

    Attributes:
      model: The other model.
      options_hash: Its options.
      videos: Number of videos that both have counted.
      within_one: Number of those whose counts differ by at most one.
      mean_difference: How much more the other model counts, on average. None without videos.
      repetitions: Sum of the counts of the page's model.
      other_repetitions: Sum of the counts of the other model.
      by_difference: Number of videos by difference, rounded and at most `data.MAX_DIFFERENCE` either way.
      largest: The videos that differ most.
    """

    model: str
    options_hash: str
    videos: int = 0
    within_one: int = 0
    mean_difference: float | None = None
    repetitions: float = 0.0
    other_repetitions: float = 0.0
    by_difference: Mapping[int, int] = dataclasses.field(default_factory=dict)
    largest: tuple[Difference, ...] = ()


@dataclasses.dataclass(frozen=True)
class Report:
    """What a page shows.

    Attributes:
      tables: Where the tables are, as printed for people.
      scope: What the page is about.
      totals: Its numbers.
      before: The run or the dates before; None if there is nothing before.
      totals_before: Numbers of `before`.
      days: Upload dates up to the last one of the page, ascending and without gaps. Empty if there are none.
      failures: Failures by code, most frequent first.
      failures_before: Number of failures of `before` by code.
      confidence: (HISTOGRAM_BINS,) number of counts above 0 by confidence.
      certainty: (HISTOGRAM_BINS,) number of counts by certainty.
      longest: The longest videos.
      to_review: Number of counts that somebody should check.
      review: The first of them, the least certain first.
      curves: Curves of `review`, by URI and generation. Not every video has one.
      thumbnails: JPEG files with frames of `review`, by URI and generation. Not every video has one.
      comparison: Another model on the same videos; None if none was asked for.
      has_others: Whether other models or options have rows on the upload dates that the page is about. False for a run.
      notes: Sentences about what is missing or special.
    """

    tables: str
    scope: Scope
    totals: Totals
    before: Scope | None = None
    totals_before: Totals | None = None
    days: tuple[Day, ...] = ()
    failures: tuple[FailureGroup, ...] = ()
    failures_before: Mapping[str, int] = dataclasses.field(default_factory=dict)
    confidence: tuple[int, ...] = (0,) * HISTOGRAM_BINS
    certainty: tuple[int, ...] = (0,) * HISTOGRAM_BINS
    longest: tuple[LongVideo, ...] = ()
    to_review: int = 0
    review: tuple[ReviewedVideo, ...] = ()
    curves: Mapping[tuple[str, int], Curve] = dataclasses.field(default_factory=dict)
    thumbnails: Mapping[tuple[str, int], bytes] = dataclasses.field(default_factory=dict)
    comparison: Comparison | None = None
    has_others: bool = False
    notes: tuple[str, ...] = ()
