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
import itertools
import logging
import os
import re
import stat
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

import apache_beam as beam
from apache_beam.io.filesystem import BeamIOError, FileMetadata, FileSystem
from apache_beam.io.filesystems import FileSystems
from apache_beam.metrics import Metrics

from model.storage import SCHEME, open_bucket
from transforms.records import METRICS_NAMESPACE, VideoRef

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


class NoMatchError(ValueError):
    """A pattern matches no video, or cannot be listed."""


@dataclasses.dataclass(eq=False)
class ListVideos(beam.PTransform):
    """Lists the videos that patterns match, on the workers, as a PCollection of `VideoRef`.

    A video that several patterns match comes once. What comes out has been through a shuffle, so that the steps that follow
    are spread over the workers instead of being fused with the listing on one. Counters in the namespace "repcount":
    `videos_listed`, each video once, and `objects_skipped`, for objects whose name does not end like a video's.

    Attributes:
      patterns: paths, directories or patterns, local or of any file system that Beam knows (`gs://…`).
      suffixes: ends of names, in lower case, that make an object a video. An object that a pattern names without a wildcard
        is taken whatever its name.
    """

    patterns: Sequence[str]
    suffixes: Sequence[str] = VIDEO_SUFFIXES

    def expand(self, pbegin: beam.pvalue.PBegin) -> beam.PCollection:
        """Lists, then lets each identity through once."""
        return (
            pbegin
            | "Create patterns" >> beam.Create([os.fsencode(pattern) for pattern in self.patterns])
            | "List objects" >> beam.ParDo(_ListFn(self.suffixes))
            | "Key by identity" >> beam.Map(_by_identity).with_output_types(tuple[tuple[bytes, int], VideoRef])
            | "Group by identity" >> beam.GroupByKey()
            | "Take each once" >> beam.Map(_first).with_output_types(VideoRef)
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
    """Makes sure, before any worker starts, that each pattern matches at least one video.

    Raises:
      NoMatchError: for the first pattern that does not, with what it did match.
    """
    for pattern in patterns:
        if not pattern:
            raise NoMatchError("an input is a file, a directory or a pattern such as DIR/**.mp4. Received: ''")
        try:
            others = _count_others(pattern, suffixes)
        except (OSError, ValueError) as error:
            raise NoMatchError(f"{textwrap.shorten(str(error), 300)} Received: {pattern!r}") from error
        if others:
            raise NoMatchError(
                f"this input matches {others:,} objects, but none whose name ends like a video's ({' '.join(suffixes)}); "
                f"one that is named without a wildcard is taken whatever its name. Received: {pattern!r}"
            )
        if others is not None:
            raise NoMatchError(f"this input matches nothing; a file, a directory or DIR/**.mp4 would. Received: {pattern!r}")


class _ListFn(beam.DoFn):
    """Lists one pattern and counts what it leaves out."""

    def __init__(self, suffixes: Sequence[str]) -> None:
        self._suffixes = suffixes
        self._skipped = Metrics.counter(METRICS_NAMESPACE, "objects_skipped")

    def process(self, element: bytes) -> Iterator[VideoRef]:
        """Yields the videos that the pattern matches."""
        pattern = os.fsdecode(element)
        for video in list_objects(pattern):
            if is_wanted(video, pattern, self._suffixes):
                yield video
            else:
                self._skipped.inc()
                _LOGGER.info("Skipped %r: its name does not end like a video's.", video.uri)


def _by_identity(video: VideoRef) -> tuple[tuple[bytes, int], VideoRef]:
    """Keys by name and generation; bytes, since a local name need not be valid UTF-8."""
    return (os.fsencode(video.uri), video.generation), video


def _first(group: tuple[tuple[bytes, int], Iterable[VideoRef]]) -> VideoRef:
    _, videos = group
    Metrics.counter(METRICS_NAMESPACE, "videos_listed").inc()
    return next(iter(videos))


def _count_others(pattern: str, suffixes: Sequence[str]) -> int | None:
    """Returns how many objects a pattern matches if there is no video among them, else None."""
    if any(is_wanted(video, pattern, suffixes) for video in list_objects(pattern, limit=_PROBED_OBJECTS)):
        return None
    others = 0
    for video in list_objects(pattern):
        if is_wanted(video, pattern, suffixes):
            return None
        others += 1
    return others


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
        objects = (names_object and match(pattern, limit)) or match(f"{pattern.rstrip('/')}/**", limit)
    return (video for video in objects if not video.uri.endswith("/"))


def _match_remote(pattern: str, limit: int | None) -> list[VideoRef]:
    return [_from_metadata(metadata) for metadata in _match(pattern, limit)]


def _match_blobs(pattern: str, limit: int | None) -> list[VideoRef]:
    """Matches objects on Cloud Storage by Beam's rules."""
    if not glob.has_magic(pattern):
        found = find_object(pattern)
        return [found] if found else []
    bucket_name, name_pattern = _split(pattern)
    prefix = re.split(r"[*?\[]", name_pattern, maxsplit=1)[0]
    matches = re.compile(FileSystem.translate_pattern(pattern + "*" if pattern.endswith("/") else pattern)).match
    with _as_beam_errors(pattern):
        blobs = open_bucket(bucket_name).list_blobs(prefix=prefix, fields=_BLOB_FIELDS)
        return list(itertools.islice((video for video in map(_from_blob, blobs) if matches(video.uri)), limit))


@contextlib.contextmanager
def _as_beam_errors(uri: str) -> Iterator[None]:
    """Turns the errors of the official client into the one of Beam's file systems."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
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
