"""What the tables hold for the viewer: the list of counted videos, and the numbers and the curve of one."""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import math
import os
import threading
from collections.abc import Collection
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from model.errors import one_line
from pipeline.command_line import UsageError
from transforms.objects import find_object, is_local, stored_name
from transforms.records import VideoRef
from transforms.warehouse.base import Warehouse, WarehouseError

MAX_CURVE_POINTS = 2_000
"""Most points of a curve, as many as a wide screen has pixels."""

ORDERS = ("review", "name")
"""How videos can be sorted: those to check first, or by name."""

_LIST = """\
SELECT
  counts.video_uri, counts.video_generation, counts.upload_date, counts.model, counts.options_hash, counts.count,
  count_rounded, counts.certainty, flags, scored_frames, message AS review
FROM {dataset}latest_video_counts AS counts
LEFT JOIN {dataset}review_queue AS queue ON queue.video_uri = counts.video_uri
ORDER BY CASE WHEN priority IS NULL THEN 1 ELSE 0 END, priority, COALESCE(counts.certainty, 1), counts.video_uri"""

_THIS_VIDEO = """\
WHERE upload_date = {upload_date} AND video_uri = {video_uri} AND video_generation = {video_generation}
  AND model = {model} AND options_hash = {options_hash}"""

_NUMBERS = f"""\
SELECT
  count, count_rounded, confidence, certainty, flags, stride, mean_period_sec, mean_rate_hz, segments, repetition_times_sec,
  duration_sec, first_frame_sec, fps, width, height, codec, size_bytes, model, run_started
FROM {{dataset}}video_counts
{_THIS_VIDEO}"""

_CURVE = f"""\
SELECT MAX(time_sec) AS time_sec, MAX(count) AS count, AVG(periodicity) AS periodicity
FROM {{dataset}}frame_curve_points
{_THIS_VIDEO}
GROUP BY CAST(FLOOR(frame / %d) AS INT64)
ORDER BY time_sec"""


@dataclasses.dataclass(frozen=True)
class ListedVideo:
    """A row of the list.

    Attributes:
      number: Position in the list, from 0. Requests name videos by it alone.
      video_uri: Local path or URI.
      video_generation: Version of the video that was counted.
      upload_date: Date (UTC) of that version.
      model: Model that counted.
      options_hash: Identifier of the options.
      count: Number of repetitions, including fractions.
      count_rounded: The same as a whole number.
      certainty: Estimated probability that the count is within one; None if there is no estimate.
      flags: Notes on the count.
      scored_frames: Number of frames of its curve.
      review: Why somebody should look at the count; None if it seems right.
    """

    number: int
    video_uri: str
    video_generation: int
    upload_date: datetime.date
    model: str
    options_hash: str
    count: float
    count_rounded: int
    certainty: float | None
    flags: tuple[str, ...]
    scored_frames: int
    review: str | None

    @property
    def key(self) -> dict[str, Any]:
        """Values of the parameters that find the video in the tables."""
        return {
            "upload_date": self.upload_date,
            "video_uri": self.video_uri,
            "video_generation": self.video_generation,
            "model": self.model,
            "options_hash": self.options_hash,
        }


class VideoList:
    """Every video of the tables with its latest count, as they were when the list was read. Threads may share it.

    Attributes:
      by_uri: Number of each video by its URI.
    """

    def __init__(self, tables: Warehouse) -> None:
        """Reads the list; raises WarehouseError, or UsageError if no video was counted."""
        self._tables = tables
        try:
            self._rows = pa.Table.from_batches(list(tables.read(_LIST)))
        except WarehouseError as error:
            if "review_queue" not in str(error):
                raise
            raise WarehouseError(f"the tables must be up to date; repcount tables updates them: {error}") from error
        if not self._rows.num_rows:
            raise UsageError("--output must name tables with at least one counted video. Received: none")
        self.by_uri: dict[str, int] = {uri: number for number, uri in enumerate(self._rows["video_uri"].to_pylist())}
        self._by_name = pc.sort_indices(self._rows["video_uri"]).to_pylist()
        self._lock = threading.Lock()
        self._found: tuple[tuple[str, str], list[int]] | None = None  # last search and its result

    def __len__(self) -> int:
        """Returns the number of videos."""
        return int(self._rows.num_rows)

    def __getitem__(self, number: int) -> ListedVideo:
        """Returns a video by its number; raises IndexError if there is none."""
        if not 0 <= number < len(self):
            raise IndexError(number)
        (row,) = self._rows.slice(number, 1).to_pylist()
        return ListedVideo(number, **row | {"flags": tuple(row["flags"] or ())})

    def find(self, search: str = "", order: str = "review") -> list[int]:
        """Returns the numbers of the videos whose URI contains a text.

        Args:
          search: Text, without regard to capitals; "" finds all.
          order: One of `ORDERS`.
        """
        with self._lock:
            if self._found and self._found[0] == (search, order):
                return self._found[1]
        numbers: list[int] = self._by_name if order == "name" else list(range(len(self)))
        if search:
            contains = pc.match_substring(self._rows["video_uri"], search, ignore_case=True).to_pylist()
            numbers = [number for number in numbers if contains[number]]
        with self._lock:
            self._found = (search, order), numbers
        return numbers

    def numbers_of(self, video: ListedVideo) -> dict[str, Any] | None:
        """Returns columns of `video_counts` for a video by name; None if the row is gone."""
        rows = list(self._tables.read_rows(_NUMBERS, video.key))
        return rows[0] if rows else None

    def curve(self, video: ListedVideo) -> dict[str, list[float]]:
        """Returns the curve of a video as three lists of equal length, with at most `MAX_CURVE_POINTS` points.

        Returns:
          By name: `time_sec`, `count` until then, and `periodicity` 0..1. Where a point stands for several frames, these are
          time and count of the last one, and the mean periodicity. The lists are empty if there is no curve.
        """
        frames_a_point = max(1, math.ceil(video.scored_frames / MAX_CURVE_POINTS))
        points = list(self._tables.read_rows(_CURVE % frames_a_point, video.key))
        return {name: [point[name] for point in points] for name in ("time_sec", "count", "periodicity")}


def find_video(video: ListedVideo, billing_project: str | None) -> tuple[VideoRef | None, str]:
    """Returns the file or object of a video as it is now, and what is wrong with it in words.

    Args:
      video: A video of the list.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Returns:
      The file, None if it cannot be found, and a sentence; "" if it is the version that was counted.
    """
    try:
        found = find_object(stored_name(video.video_uri), billing_project)
    except Exception as error:  # of any file system and its client; the page shows it, and the numbers all the same
        return None, f"The video cannot be read: {one_line(error)}"
    if found is None:
        where = "on this machine" if is_local(video.video_uri) else "there"
        return None, f"The video is no longer {where}. Its curve and numbers are those that were counted."
    if found.generation != video.video_generation:
        return found, "The video was changed after it was counted. Its curve and numbers are those of the former version."
    return found, ""


def shared_folder(uris: Collection[str]) -> str | None:
    """Returns the deepest folder that all videos are in, without a slash at its end; None if there is none.

    Raises:
      ValueError: There are no videos.
    """
    first, last = min(uris), max(uris)  # what these two share at their start, all share
    pairs = zip(first.split("/")[:-1], last.split("/")[:-1], strict=False)
    folder = "/".join(name for name, other in itertools.takewhile(lambda pair: pair[0] == pair[1], pairs))
    if is_local(first) != is_local(last) or (not is_local(first) and folder.count("/") < 2):
        return None
    return folder or "/"


def path_below(uri: str, folder: str) -> str | None:
    """Returns the path of a video below a folder, as a label names it; None if it is not below it."""
    start = folder.rstrip("/") + "/"
    path = uri.removeprefix(start)
    return path if path != uri and path and os.path.normpath(path) == path and not path.startswith(("/", "../")) else None
