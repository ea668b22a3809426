"""Opens a listed video for reading: a local file in place, a remote object as an unnamed local copy.

What is read is the listed version of the video, or the video fails.
"""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

from transforms.decoding.options import DecodingOptions
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode, describe_error
from transforms.local_files import file_generation
from transforms.objects import (
    DELETED,
    REPLACED,
    ObjectGoneError,
    ObjectTooLargeError,
    check_listed,
    copy_ends,
    download,
    is_local,
)
from transforms.records import VideoRef
from transforms.store_faults import NotDeliveredError

_HEAD_BYTES = 512 << 10
"""Bytes copied from the start of a remote object for its header."""

_TAIL_BYTES = 2 << 20
"""Bytes copied from its end, where cameras write the index of an MP4 or MOV: enough for that of an hour."""


@contextlib.contextmanager
def open_video(
    video: VideoRef,
    max_bytes: int = DecodingOptions.max_bytes,
    billing_project: str | None = None,
    *,
    header_only: bool = False,
) -> Iterator[BinaryIO]:
    """Opens the listed version of a video.

    A remote object is copied first. The copy has no name in the file system, so it disappears with this process, however that
    ends. An OSError while the file is in use becomes a DecodeError READ_ERROR, too.

    Args:
      video: Video to open, as listed.
      max_bytes: Largest file to open, in bytes.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
      header_only: Whether to copy only the start and the end of a remote object; the copy reads as zeros between them.

    Yields:
      The file, open for reading at its start.

    Raises:
      DecodeError: GONE if the listed version is no longer there; NOT_DELIVERED, EMPTY_FILE, TOO_LARGE or READ_ERROR.
    """
    with contextlib.ExitStack() as stack:
        with _as_decode_errors(Exception):  # clients of remote stores raise errors of any type
            if is_local(video.uri):
                check_listed(video)
                path = video.uri
            else:
                copy = stack.enter_context(tempfile.TemporaryFile(prefix="repcount-"))
                if header_only:
                    copy_ends(video, copy, _HEAD_BYTES, _TAIL_BYTES, max_bytes, billing_project)
                else:
                    download(video, copy, max_bytes, billing_project)
                path = f"/dev/fd/{copy.fileno()}"  # opened again, so that the decoder cannot write to it
        with _as_decode_errors(OSError), open(path, "rb", opener=_open_without_waiting) as file:
            _check_content(file, max_bytes)
            check_unchanged(video, file)
            yield file


def check_unchanged(video: VideoRef, file: BinaryIO) -> None:
    """Raises DecodeError GONE if an open local file is not the listed version; a copy always is.

    A file that was deleted, or replaced by renaming another one, still reads as it was when it was opened.
    """
    if is_local(video.uri) and file_generation(os.fstat(file.fileno())) != video.generation:
        raise DecodeError(FailureCode.GONE, REPLACED)


def _check_content(file: BinaryIO, max_bytes: int) -> None:
    """Raises DecodeError READ_ERROR if this is not a regular file, else EMPTY_FILE or TOO_LARGE."""
    status = os.fstat(file.fileno())
    if not stat.S_ISREG(status.st_mode):
        raise DecodeError(FailureCode.READ_ERROR, "this is not a file")
    if status.st_size == 0:
        raise DecodeError(FailureCode.EMPTY_FILE, "the file is empty")
    if status.st_size > max_bytes:
        raise DecodeError(FailureCode.TOO_LARGE, f"the file has {status.st_size:,} bytes, more than {max_bytes:,}")


def _open_without_waiting(path: str, flags: int) -> int:
    """Opens a file, without waiting for a writer if it is a pipe; raises DecodeError GONE if it does not exist."""
    try:
        return os.open(path, flags | os.O_NONBLOCK)
    except FileNotFoundError as error:
        raise DecodeError(FailureCode.GONE, DELETED) from error


@contextlib.contextmanager
def _as_decode_errors(*types: type[Exception]) -> Iterator[None]:
    """Turns errors into DecodeErrors: GONE, NOT_DELIVERED, TOO_LARGE, or READ_ERROR for errors of these types."""
    try:
        yield
    except DecodeError:
        raise
    except ObjectGoneError as error:
        raise DecodeError(FailureCode.GONE, str(error)) from error
    except NotDeliveredError as error:
        raise DecodeError(FailureCode.NOT_DELIVERED, str(error)) from error
    except ObjectTooLargeError as error:
        raise DecodeError(FailureCode.TOO_LARGE, str(error)) from error
    except types as error:
        raise DecodeError(FailureCode.READ_ERROR, describe_error(error)) from error
