"""Listing: from patterns to the videos that they match, each once.

Patterns are Beam's: `*` is any run of characters but `/`, `**` any run at all, `?` one character, `[ab]` one of those. So
`dir/**` is every object below `dir`, those right in it included, while `dir/**/*.mp4` asks for two slashes and does not match
`dir/a.mp4`; write `dir/**.mp4` for all of them. A directory, or on a remote store a prefix without wildcards, stands for
everything below it.

Objects on Cloud Storage are listed with its own client: Beam's file system does not tell their generations, and its times are
an hour off where a machine keeps summer time.
"""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import glob
import hashlib
import itertools
import logging
import os
import re
import stat
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from model.storage import SCHEME, open_bucket
from transforms.records import METRICS_NAMESPACE, VideoRef
from transforms.warehouse.parquet import ROW_GROUP_ROWS, StagedFile, TableWriter
from transforms.warehouse.rows import listing_batch
from transforms.warehouse.schema import LISTING

if TYPE_CHECKING:
    from google.cloud.storage import Blob

VIDEO_SUFFIXES = (
    ".3g2",
    ".3gp",
    ".asf",
    ".avi",
    ".flv",
    ".gif",
    ".m2ts",
    ".m4v",
    ".mkv",
    ".mov",
    ".mp4",
    ".mpeg",
    ".mpg",
    ".mts",
    ".ogv",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
)
"""Ends of names, in lower case, by which objects that a wildcard matches are taken for videos."""

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.timezone.utc)
_LAST_MICROSECOND = (datetime.datetime.max.replace(tzinfo=datetime.timezone.utc) - _EPOCH) // datetime.timedelta(microseconds=1)

_PROBED_OBJECTS = 100
"""Objects that `check_matches` looks at before it lists all of a large bucket."""

_BLOB_FIELDS = "items(name,generation,size,timeCreated),nextPageToken"
"""What is asked of Cloud Storage for each object."""

_LOGGER = logging.getLogger(__name__)

_T = TypeVar("_T")


class NoMatchError(ValueError):
    """A pattern matches no video, or cannot be listed."""


@dataclasses.dataclass(frozen=True)
class ListingFilter:
    """Which of the videos that a pattern matches are listed; one that is not is no part of the run.

    Attributes:
      updated_after: the first moment of upload, with its time zone; None for any.
      updated_before: the first moment of upload that is too late; None for any.
      sample: share of the videos, above 0 and at most 1. Which ones is decided by their names alone, so that it is the same
        ones every time, and a larger share holds a smaller one.
    """

    updated_after: datetime.datetime | None = None
    updated_before: datetime.datetime | None = None
    sample: float = 1.0

    def __post_init__(self) -> None:
        """Raises ValueError for a share beyond 0..1, or times between which there are none."""
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be above 0 and at most 1. Received: {self.sample}")
        if self.updated_after and self.updated_before and self.updated_after >= self.updated_before:
            raise ValueError(f"updated_before must be later than updated_after. Received: {self.updated_before}")

    def takes(self, video: VideoRef) -> bool:
        """Tells whether a video is listed."""
        if self.updated_after is not None and video.updated < self.updated_after:
            return False
        if self.updated_before is not None and video.updated >= self.updated_before:
            return False
        return self.sample == 1 or _place(video.uri) < self.sample


def _place(uri: str) -> float:
    """Returns a number from 0 to below 1 that depends on a name alone, evenly spread."""
    return int.from_bytes(hashlib.sha256(os.fsencode(uri)).digest()[:6], "big") / 2**48


@dataclasses.dataclass(eq=False)
class ListVideos(beam.PTransform):
    """Lists the videos that patterns match, on the workers, into files: a PCollection of `StagedFile` with rows of `LISTING`.

    Rows in files, and not elements, since most of what is listed night after night was counted long ago: the tables tell
    that from the files at once, and only what is to do goes through the pipeline. A video that several patterns match is
    listed by each. The counter `objects_skipped` in the namespace "repcount" is for objects not named like videos.

    Attributes:
      patterns: paths, directories or patterns, local or of any file system that Beam knows (`gs://…`).
      folder: of the run, local or `gs://`; files are `{folder}/listing/{unique}.parquet`.
      suffixes: ends of names, in lower case, that make an object a video. An object that a pattern names without a wildcard
        is taken whatever its name.
      listing_filter: which videos.
    """

    patterns: Sequence[str]
    folder: str
    suffixes: Sequence[str] = VIDEO_SUFFIXES
    listing_filter: ListingFilter = ListingFilter()

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Lists each pattern."""
        return (
            pbegin
            | "Create patterns" >> beam.Create([os.fsencode(pattern) for pattern in self.patterns])
            | "List objects"
            >> beam.ParDo(_ListFn(self.folder, self.suffixes, self.listing_filter)).with_output_types(StagedFile)
        )


def list_videos(pattern: str, suffixes: Sequence[str] = VIDEO_SUFFIXES) -> Iterator[VideoRef]:
    """Yields the videos that a pattern matches, in the file system's order.

    Args:
      pattern: path, directory or pattern.
      suffixes: ends of names, in lower case, that make an object a video; an object named without a wildcard always is one.

    Raises:
      ValueError: if there is no file system for it.
      BeamIOError: if the file system cannot list it.
    """
    return (video for video in list_objects(pattern) if is_wanted(video, pattern, suffixes))


def list_objects(pattern: str, limit: int | None = None) -> Iterator[VideoRef]:
    """Yields every object that a pattern matches, video or not; directories are no objects.

    Args:
      pattern: path, directory or pattern.
      limit: objects after which to stop listing; None lists all.

    Raises:
      ValueError: if there is no file system for it.
      BeamIOError: if the file system cannot list it.
    """
    pattern = _absolute(pattern)
    return _list_local(pattern, limit) if is_local(pattern) else _list_remote(pattern, limit)


def find_object(uri: str) -> VideoRef | None:
    """Looks one object up by its name, in which no character is a wildcard.

    Returns:
      The object as it is now; None if there is none of that name, or if it is not a file.

    Raises:
      BeamIOError: if a remote file system does not answer.
    """
    if is_local(uri):
        try:
            status = os.stat(uri)
        except OSError:  # it may have gone since it was listed, and a dangling link names nothing
            return None
        return _from_status(uri, status) if stat.S_ISREG(status.st_mode) else None
    if uri.startswith(SCHEME):
        bucket_name, name = _split(uri)
        with _as_beam_errors(uri):
            blob = open_bucket(bucket_name).get_blob(name)
        return _from_blob(blob) if blob else None
    file_system = FileSystems.get_filesystem(uri)
    return _from_metadata(file_system.metadata(uri)) if file_system.exists(uri) else None


def is_local(uri: str) -> bool:
    """Tells whether a name is that of a file on this machine."""
    return FileSystems.get_scheme(uri) is None


def is_wanted(video: VideoRef, pattern: str, suffixes: Sequence[str]) -> bool:
    """Tells whether an object that `pattern` matched is taken for a video: by the end of its name, or as the one it names."""
    return video.uri.lower().endswith(tuple(suffixes)) or video.uri == _absolute(pattern)


def check_matches(patterns: Iterable[str], suffixes: Sequence[str] = VIDEO_SUFFIXES) -> None:
    """Makes sure, before any worker starts, that each pattern matches at least one video, which can be read.

    Raises:
      NoMatchError: for the first pattern that does not, with what it did match.
    """
    for pattern in patterns:
        check_any_matches(pattern, [pattern], suffixes)


def check_any_matches(meant: str, patterns: Iterable[str], suffixes: Sequence[str] = VIDEO_SUFFIXES) -> None:
    """Makes sure that one of several patterns matches at least one video, and that the first one found can be read.

    Args:
      meant: what people wrote, from which the patterns were made.
      patterns: these.
      suffixes: see `list_videos`.

    Raises:
      NoMatchError: none does, with what they did match; or a pattern cannot be listed, or the video not read.
    """
    if not meant:
        raise NoMatchError("an input is a file, a directory or a pattern such as DIR/**.mp4. Received: ''")
    others = 0
    for pattern in patterns:
        try:
            found = _find_video(pattern, suffixes)
            if isinstance(found, VideoRef):
                _check_readable(found)
                return
        except (OSError, ValueError) as error:
            raise NoMatchError(f"{textwrap.shorten(str(error), 300)} Received: {pattern!r}") from error
        others += found
    if others:
        raise NoMatchError(
            f"this input matches {others:,} objects, but none whose name ends like a video's ({' '.join(suffixes)}); "
            f"one that is named without a wildcard is taken whatever its name. Received: {meant!r}"
        )
    raise NoMatchError(f"this input matches nothing; a file, a directory or DIR/**.mp4 would. Received: {meant!r}")


class _ListFn(beam.DoFn):
    """Lists one pattern into files and counts what it leaves out."""

    def __init__(self, folder: str, suffixes: Sequence[str], listing_filter: ListingFilter) -> None:
        self._folder = folder
        self._suffixes = suffixes
        self._filter = listing_filter
        self._skipped = Metrics.counter(METRICS_NAMESPACE, "objects_skipped")

    def process(self, element: bytes) -> Iterator[StagedFile]:
        """Yields the files that hold the videos that the pattern matches."""
        pattern = os.fsdecode(element)
        writer = TableWriter(self._folder, LISTING)
        try:
            for videos in batched(self._wanted(pattern), ROW_GROUP_ROWS):
                writer.write(listing_batch(videos))
            yield from writer.close()
        finally:
            writer.discard()

    def _wanted(self, pattern: str) -> Iterator[VideoRef]:
        for video in list_objects(pattern):
            if not is_wanted(video, pattern, self._suffixes):
                self._skipped.inc()
                _LOGGER.info("Skipped %r: its name does not end like a video's.", video.uri)
            elif self._filter.takes(video):
                yield video


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yields items in lists of `size`, the last of which may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _find_video(pattern: str, suffixes: Sequence[str]) -> VideoRef | int:
    """Returns the first video that a pattern matches, or how many other objects it matches if there is none."""
    for video in list_objects(pattern, limit=_PROBED_OBJECTS):
        if is_wanted(video, pattern, suffixes):
            return video
    others = 0
    for video in list_objects(pattern):
        if is_wanted(video, pattern, suffixes):
            return video
        others += 1
    return others


def _check_readable(video: VideoRef) -> None:
    """Raises BeamIOError if an object on Cloud Storage may be listed but not read, which takes a right of its own."""
    from google.api_core.exceptions import RequestRangeNotSatisfiable

    if not video.uri.startswith(SCHEME):
        return  # a local file that cannot be read is a failure of that video
    bucket_name, name = _split(video.uri)
    with contextlib.suppress(RequestRangeNotSatisfiable), _as_beam_errors(video.uri, RequestRangeNotSatisfiable):
        open_bucket(bucket_name).blob(name).download_as_bytes(start=0, end=0)


def _list_local(pattern: str, limit: int | None) -> Iterator[VideoRef]:
    if os.path.isdir(pattern):
        below = os.path.join(pattern, "")  # Beam has no way to quote a wildcard in it
        paths = [found for found in _match(re.sub(r"[*?\[]", "?", below) + "**", limit) if found.path.startswith(below)]
    elif os.path.lexists(pattern):  # a name may hold [, * or ? itself
        paths = [FileMetadata(pattern, 0)]
    else:
        paths = _match(pattern, limit)
    found = (find_object(metadata.path) for metadata in paths)
    return (video for video in found if video is not None)


def _list_remote(pattern: str, limit: int | None) -> Iterator[VideoRef]:
    match = _match_blobs if pattern.startswith(SCHEME) else _match_remote
    if glob.has_magic(pattern):
        objects = match(pattern, limit)
    else:
        names_object = re.fullmatch(r"[^:/]+://[^/]+/.*[^/]", pattern)
        exact = list(match(pattern, limit)) if names_object else []
        objects = iter(exact) if exact else match(f"{pattern.rstrip('/')}/**", limit)
    return (video for video in objects if not video.uri.endswith("/"))


def _match_remote(pattern: str, limit: int | None) -> Iterator[VideoRef]:
    return map(_from_metadata, _match(pattern, limit))


def _match_blobs(pattern: str, limit: int | None) -> Iterator[VideoRef]:
    """Matches objects on Cloud Storage by Beam's rules, page by page."""
    if not glob.has_magic(pattern):
        found = find_object(pattern)
        if found:
            yield found
        return
    bucket_name, name_pattern = _split(pattern)
    prefix = re.split(r"[*?\[]", name_pattern, maxsplit=1)[0]
    matches = re.compile(FileSystem.translate_pattern(pattern + "*" if pattern.endswith("/") else pattern)).match
    with _as_beam_errors(pattern):
        blobs = open_bucket(bucket_name).list_blobs(prefix=prefix, fields=_BLOB_FIELDS)
        yield from itertools.islice((video for video in map(_from_blob, blobs) if matches(video.uri)), limit)


@contextlib.contextmanager
def _as_beam_errors(uri: str, *passed: type[Exception]) -> Iterator[None]:
    """Turns the errors of the official client into the one of Beam's file systems; those in `passed` stay what they are."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except passed:
        raise
    except (GoogleAPIError, GoogleAuthError) as error:
        raise BeamIOError(f"Cloud Storage refused: {' '.join(str(error).split())}", {uri: error}) from error


def _split(uri: str) -> tuple[str, str]:
    """Returns bucket and name of an object on Cloud Storage, or of a pattern of them."""
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    return bucket, name


def _absolute(pattern: str) -> str:
    """Makes a local path or pattern absolute, so that a video has one name from wherever a run is started."""
    return os.path.abspath(pattern) if is_local(pattern) else pattern


def _match(pattern: str, limit: int | None) -> list[FileMetadata]:
    (result,) = FileSystems.match([pattern], [limit])
    return result.metadata_list


def _from_metadata(metadata: FileMetadata) -> VideoRef:
    """Identifies a remote object of which no more is known than Beam tells, by the time of its last update in microseconds."""
    microseconds = round(metadata.last_updated_in_seconds * 1e6)
    return VideoRef(metadata.path, microseconds, metadata.size_in_bytes, _time(microseconds))


def _from_blob(blob: Blob) -> VideoRef:
    """Identifies an object on Cloud Storage.

    Its time is that at which this generation was made: what the service calls the update changes with every edit of the
    metadata, too, and rows are filed by it.
    """
    return VideoRef(f"{SCHEME}{blob.bucket.name}/{blob.name}", blob.generation, blob.size, blob.time_created)


def _from_status(path: str, status: os.stat_result) -> VideoRef:
    """Identifies a local file; Beam tells its time of modification as a float only, too coarse for two writes in a row."""
    return VideoRef(path, status.st_mtime_ns, status.st_size, _time(status.st_mtime_ns // 1000))


def _time(microseconds: int) -> datetime.datetime:
    """Returns a time in UTC, within the years that there are: a file's time may be set to anything."""
    return _EPOCH + datetime.timedelta(microseconds=max(0, min(microseconds, _LAST_MICROSECOND)))
