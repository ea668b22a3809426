"""Objects: files on this machine and objects in buckets, listed, looked up and copied by one set of functions.

An object is a `VideoRef`: URI, generation, size, time of the last change. Its generation tells one version of a name from the
next. `gs://` objects are read with Cloud Storage's own client, because Beam's file system does not report generations and its
times are an hour off on machines with daylight saving time. Other remote schemes go through Beam's file systems.

Patterns are Beam's: `*` matches any characters except `/`, `**` matches any characters, `?` matches one character and `[ab]`
matches one of those listed. A `[` that no `]` ends is a plain character. `dir/**` matches every object below `dir`.
`dir/**/*.mp4` needs two slashes, so it does not match `dir/a.mp4`; use `dir/**.mp4` instead. A directory, or a remote prefix
without wildcards, stands for everything below it.

Beam is imported when it is needed, so that a single local file can be counted without it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO, cast

from model.errors import one_line
from model.storage import SCHEME, open_bucket, split_uri
from transforms.left_out import LeftOut, Reason
from transforms.local_files import WILDCARD, compile_pattern, find_file, scan_files, utc_time
from transforms.records import VideoRef
from transforms.store_faults import NotDeliveredError, bucket_refusals, undelivered_objects

if TYPE_CHECKING:
    from apache_beam.io.filesystem import FileMetadata, FileSystem
    from google.cloud.storage import Blob

COPY_BUFFER_BYTES = 8 << 20
"""Bytes held in memory while an object is copied from a store other than Cloud Storage."""

MAX_UNPACKED_RATIO = 20
"""Most bytes written per listed byte. Cloud Storage's client unpacks an object stored with `Content-Encoding: gzip`, up to a
thousandfold; video barely shrinks when packed."""

FREE_UNPACKED_BYTES = 64 << 20
"""Bytes that an object may have when unpacked, whatever its listed size."""

DELETED = "the video was deleted after it was listed"

REPLACED = "the video was replaced after it was listed; the next run counts the new one"

_REMOTE = re.compile(r"\s*[a-zA-Z][-a-zA-Z0-9+.]*://")
"""Beam's rule for what is not a path on this machine."""

_ESCAPED_BYTE = re.compile(r"\\u(dc[89a-f][0-9a-f])")

_LEAST_COPY_SEC = 120.0
"""Seconds in which a copy that breaks off is continued, however small the object is."""

_LEAST_COPY_RATE = 1 << 20
"""Bytes per second of a slow copy, which is still continued where it breaks off."""

_MOST_COPY_SEC = 1800.0
"""Seconds after which no copy is continued. A store that only answers errors is given up after as long."""

_RANGE_SEC = 10.0
"""Seconds that Cloud Storage may take to answer when only a part of an object is read, all attempts together."""

_PLACEHOLDERS = ("/", "_$folder$")
"""Ends of the names of empty objects that programs store to show a folder."""

_BLOB_FIELDS = "items(name,generation,size,timeCreated),nextPageToken"
"""Fields requested from Cloud Storage for each listed object."""


class ObjectGoneError(OSError):
    """The object was deleted or replaced after it was listed."""


class ObjectTooLargeError(OSError):
    """The object has more bytes than the caller allows."""


def list_objects(pattern: str) -> Iterator[VideoRef]:
    """Yields every object that a pattern matches, whether or not it is a video. Leaves out what `scan_objects` explains."""
    return (found for found in scan_objects(pattern) if isinstance(found, VideoRef))


def scan_objects(pattern: str, limit: int | None = None, billing_project: str | None = None) -> Iterator[VideoRef | LeftOut]:
    """Yields every object that a pattern matches, whether or not it is a video, and every matching name that is no object.

    Folders are not objects, but the empty objects that some programs store for them are reported as placeholders.

    Args:
      pattern: Path, directory or pattern, local or remote. A relative path gives absolute URIs.
      limit: Number of names after which listing stops. None lists all.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ValueError: no file system has this scheme.
      BeamIOError: the file system cannot list the pattern.
    """
    pattern = absolute(pattern)
    if is_local(pattern):
        return scan_files(pattern, limit)
    return map(_judge_placeholder, _list_remote(pattern, limit, billing_project))


def find_object(uri: str, billing_project: str | None = None) -> VideoRef | None:
    """Returns the current version of one object, or None if there is no such file. No character of `uri` is a wildcard.

    Args:
      uri: Local path or URI.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ValueError: no file system has this scheme.
      OSError: the system does not say whether there is such a local file.
      BeamIOError: a remote file system does not answer.
    """
    if is_local(uri):
        return find_file(uri)
    if uri.startswith(SCHEME):
        bucket_name, name = split_uri(uri)
        with _as_beam_errors(uri):
            blob = open_bucket(bucket_name, billing_project).get_blob(name)
        return _from_blob(blob) if blob else None
    file_system = _file_system(uri)
    return _from_metadata(file_system.metadata(uri)) if file_system.exists(uri) else None


def check_listed(video: VideoRef, billing_project: str | None = None) -> None:
    """Raises ObjectGoneError unless the object still exists in the version that was listed."""
    found = find_object(video.uri, billing_project)
    if found is None:
        raise ObjectGoneError(DELETED)
    if found.generation != video.generation:
        raise ObjectGoneError(REPLACED)


def check_readable(video: VideoRef, billing_project: str | None = None) -> None:
    """Raises BeamIOError if an object on Cloud Storage can be listed but not read, which needs a permission of its own.

    Local files pass: one that cannot be read becomes a failure of that video alone. So does an object that the store alone of
    its folder does not deliver.
    """
    if not video.uri.startswith(SCHEME):
        return
    from google.api_core.exceptions import RequestRangeNotSatisfiable

    bucket_name, name = split_uri(video.uri)
    with (
        contextlib.suppress(RequestRangeNotSatisfiable, NotDeliveredError),  # an empty object has no first byte
        undelivered_objects(video.uri, billing_project),
        _as_beam_errors(video.uri, RequestRangeNotSatisfiable),
    ):
        open_bucket(bucket_name, billing_project).blob(name).download_as_bytes(start=0, end=0)


def download(video: VideoRef, file: BinaryIO, max_bytes: int, billing_project: str | None = None) -> None:
    """Copies the listed version of a remote object into an open file and rewinds the file.

    Args:
      video: Object to copy, as it was listed.
      file: Empty file, open for writing.
      max_bytes: Most bytes to write. An object that unpacks to far more bytes than were listed is refused sooner; see
        `MAX_UNPACKED_RATIO`.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ObjectGoneError: the object was deleted or replaced after it was listed, before or during the copy.
      ObjectTooLargeError: the object is larger than that. No byte beyond the limit was written.
      NotDeliveredError: Cloud Storage does not deliver this object, but others of its folder.
      MachineFaultError: Cloud Storage refuses the account or the project, not only this object.
      Exception: any other error of the store's client or of the local disk.
    """
    if video.size_bytes > max_bytes:
        raise ObjectTooLargeError(f"the file has {video.size_bytes:,} bytes, more than {max_bytes:,}")
    most_unpacked_bytes = max(FREE_UNPACKED_BYTES, MAX_UNPACKED_RATIO * video.size_bytes)
    bounded = cast(BinaryIO, _BoundedFile(file, min(max_bytes, most_unpacked_bytes)))
    with bucket_refusals(video.uri, billing_project), undelivered_objects(video.uri, billing_project):
        check_listed(video, billing_project)
        if video.uri.startswith(SCHEME):
            _copy_blob(video, bounded, billing_project)
        else:
            _copy_stream(video, bounded)
        check_listed(video, billing_project)  # the copy may be of a version that replaced the listed one
    file.seek(0)


def copy_ends(
    video: VideoRef, file: BinaryIO, head_bytes: int, tail_bytes: int, max_bytes: int, billing_project: str | None = None
) -> None:
    """Copies the start and the end of the listed version of a remote object into an open file and rewinds the file.

    The file gets the object's size and reads as zeros between the two, where the disk stores nothing.

    Args:
      video: Object to copy, as it was listed.
      file: Empty file, open for writing.
      head_bytes: Bytes to copy from the start.
      tail_bytes: Bytes to copy from the end.
      max_bytes: Most bytes that the object may have.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ObjectGoneError: the object was deleted or replaced after it was listed, before or during the copy.
      ObjectTooLargeError: the object is larger than that.
      Exception: any other error of the store's client or of the local disk.
    """
    size = video.size_bytes
    if size > max_bytes:
        raise ObjectTooLargeError(f"the file has {size:,} bytes, more than {max_bytes:,}")
    file.truncate(size)
    for start, end in [(0, size)] if size <= head_bytes + tail_bytes else [(0, head_bytes), (size - tail_bytes, size)]:
        file.seek(start)
        file.write(read_range(video, start, end, billing_project))
    if not video.uri.startswith(SCHEME):
        check_listed(video)
    file.seek(0)


def read_range(video: VideoRef, start: int, end: int, billing_project: str | None = None) -> bytes:
    """Returns the bytes from `start` to before `end` of a remote object, as they are stored.

    Args:
      video: Object to read. On Cloud Storage, this version of it is read.
      start: Position of the first byte.
      end: Position after the last byte, at most the object's size.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ObjectGoneError: the object on Cloud Storage was deleted or replaced.
      Exception: any other error of the store's client.
    """
    if video.uri.startswith(SCHEME):
        return _read_blob_range(video, start, end, billing_project)
    return _read_stream_range(video, start, end)


def is_local(uri: str) -> bool:
    """Returns whether a name is a path on this machine."""
    return _REMOTE.match(uri) is None


def absolute(pattern: str) -> str:
    """Returns a local path or pattern made absolute, so that a video has one URI wherever a run starts; others unchanged."""
    return os.path.abspath(pattern) if is_local(pattern) else pattern


def stored_name(uri: str) -> str:
    """Returns the name of a video from its URI in the tables, which escape bytes that are not UTF-8; see `text.valid_text`."""
    if not is_local(uri) or os.path.lexists(uri):
        return uri
    return _ESCAPED_BYTE.sub(lambda escaped: chr(int(escaped[1], 16)), uri)


def _list_remote(pattern: str, limit: int | None, billing_project: str | None) -> Iterator[VideoRef]:
    is_bucket = pattern.startswith(SCHEME)
    match = functools.partial(_match_blobs, billing_project=billing_project) if is_bucket else _match_remote
    if WILDCARD.search(pattern):
        # As on this machine, the name of an existing video is taken as it is, such as "Squats [id].mp4". Few names have a *.
        may_be_a_name = is_bucket and "*" not in pattern and not pattern.endswith("/")
        named = find_object(pattern, billing_project) if may_be_a_name else None
        return match(pattern, limit) if named is None else iter([named])
    names_object = re.fullmatch(r"[^:/]+://[^/]+/.*[^/]", pattern, re.DOTALL)
    exact = list(match(pattern, limit)) if names_object else []
    return iter(exact) if exact else match(f"{pattern.rstrip('/')}/**", limit)


def _judge_placeholder(video: VideoRef) -> VideoRef | LeftOut:
    is_placeholder = video.uri.endswith(_PLACEHOLDERS) and video.size_bytes == 0
    return LeftOut(video.uri, Reason.PLACEHOLDER) if is_placeholder else video


def _match_remote(pattern: str, limit: int | None) -> Iterator[VideoRef]:
    (result,) = _file_system(pattern).match([pattern], [limit])
    return map(_from_metadata, result.metadata_list)


def _match_blobs(pattern: str, limit: int | None, billing_project: str | None) -> Iterator[VideoRef]:
    """Yields the objects on Cloud Storage that match by Beam's rules, page by page."""
    if not WILDCARD.search(pattern):
        found = find_object(pattern, billing_project)
        if found:
            yield found
        return
    bucket_name, name_pattern = split_uri(pattern)
    prefix = WILDCARD.split(name_pattern, maxsplit=1)[0]
    matches = compile_pattern(pattern + "*" if pattern.endswith("/") else pattern).match
    with _as_beam_errors(pattern):
        blobs = open_bucket(bucket_name, billing_project).list_blobs(prefix=prefix, fields=_BLOB_FIELDS)
        yield from itertools.islice((video for video in map(_from_blob, blobs) if matches(video.uri)), limit)


def _file_system(uri: str) -> FileSystem:
    """Returns Beam's file system for a URI that is not on Cloud Storage."""
    from apache_beam.io.filesystems import FileSystems

    try:
        return FileSystems.get_filesystem(uri)
    except ValueError as error:
        scheme = uri.partition("://")[0]
        raise ValueError(f"a video is a local path or a gs:// URI; download what is on {scheme}:// first.") from error


@contextlib.contextmanager
def _as_beam_errors(uri: str, *passed: type[Exception]) -> Iterator[None]:
    """Turns errors of Cloud Storage's client into BeamIOError. Errors of the types in `passed` stay as they are."""
    from apache_beam.io.filesystem import BeamIOError
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except passed:
        raise
    except (GoogleAPIError, GoogleAuthError) as error:
        why = one_line(error)
        hint = "--billing_project must name a project that pays. " if "requester pays" in why else ""
        raise BeamIOError(f"{hint}Cloud Storage refused: {why}", {uri: error}) from error


class _BoundedFile:
    """What the copiers need of a file open for writing; refuses to grow beyond a limit."""

    def __init__(self, file: BinaryIO, max_bytes: int) -> None:
        self._file = file
        self._max_bytes = max_bytes
        self.seek = file.seek  # a client that starts over rewinds the file
        self.tell = file.tell

    def write(self, block: bytes) -> int:
        """Writes a block; raises ObjectTooLargeError, having written none of it, if the file would exceed its limit."""
        num_bytes = self._file.tell() + len(block)
        if num_bytes > self._max_bytes:
            raise ObjectTooLargeError(f"the file has at least {num_bytes:,} bytes, more than {self._max_bytes:,}")
        return self._file.write(block)


def _copy_blob(video: VideoRef, file: BinaryIO, billing_project: str | None) -> None:
    """Copies one generation of an object. The client unpacks an object that is stored compressed.

    Cloud Storage's client is faster than Beam's file system (`benchmarks.reading`). It continues a copy that breaks off, where
    it broke off, but only for two minutes from the start unless it is told otherwise. A large video takes longer.
    """
    from google.cloud.storage.retry import DEFAULT_RETRY

    retried_sec = min(_LEAST_COPY_SEC + video.size_bytes / _LEAST_COPY_RATE, _MOST_COPY_SEC)
    with _listed_blob(video, billing_project) as blob:
        blob.download_to_file(file, retry=DEFAULT_RETRY.with_timeout(retried_sec))


def _read_blob_range(video: VideoRef, start: int, end: int, billing_project: str | None) -> bytes:
    """Returns the bytes from `start` to before `end` of one generation of an object, as they are stored."""
    from google.cloud.storage.retry import DEFAULT_RETRY

    content = io.BytesIO()
    with _listed_blob(video, billing_project) as blob:
        blob.download_to_file(
            _BoundedFile(content, end - start),  # a server may ignore the range
            start=start,
            end=end - 1,
            raw_download=True,
            checksum=None,
            timeout=_RANGE_SEC,
            retry=DEFAULT_RETRY.with_timeout(_RANGE_SEC),
        )
    return content.getvalue()


@contextlib.contextmanager
def _listed_blob(video: VideoRef, billing_project: str | None) -> Iterator[Blob]:
    """Yields the listed generation of an object; raises ObjectGoneError if the body does not find it."""
    from google.api_core.exceptions import NotFound

    bucket_name, name = split_uri(video.uri)
    try:
        yield open_bucket(bucket_name, billing_project).blob(name, generation=video.generation)
    except NotFound as error:
        check_listed(video, billing_project)  # says whether it was deleted or replaced
        raise ObjectGoneError(REPLACED) from error


def _read_stream_range(video: VideoRef, start: int, end: int) -> bytes:
    """Returns the bytes from `start` to before `end` of an object in Beam's file system."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    with FileSystems.open(video.uri, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        source.seek(start)
        return source.read(end - start)


def _copy_stream(video: VideoRef, file: BinaryIO) -> None:
    """Copies an object from Beam's file system."""
    from apache_beam.io.filesystem import CompressionTypes
    from apache_beam.io.filesystems import FileSystems

    # Uncompressed: Beam would unpack what ends in .gz.
    with FileSystems.open(video.uri, compression_type=CompressionTypes.UNCOMPRESSED) as source:
        while block := source.read(COPY_BUFFER_BYTES):
            file.write(block)


def _from_metadata(metadata: FileMetadata) -> VideoRef:
    """Identifies a remote object by the time of its last update in microseconds, since Beam reports no generation."""
    microseconds = round(metadata.last_updated_in_seconds * 1e6)
    return VideoRef(metadata.path, microseconds, metadata.size_in_bytes, utc_time(microseconds))


def _from_blob(blob: Blob) -> VideoRef:
    """Identifies an object on Cloud Storage by its generation.

    Its time is when this generation was created. Cloud Storage's own update time also changes when metadata is edited, and
    rows are partitioned by this time.
    """
    return VideoRef(f"{SCHEME}{blob.bucket.name}/{blob.name}", blob.generation, blob.size, blob.time_created)
