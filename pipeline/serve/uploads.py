"""A video that a request uploads: streamed to a file without a name, counted, and gone. It is in no table.

The file is gone with the request, or with the process, however that ends. Form parsers of the usual kind write first and look
at sizes later, so the limits are checked here while the bytes come in.
"""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import re
import tempfile
from collections.abc import AsyncIterator, Callable
from typing import TYPE_CHECKING, BinaryIO

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import Request

from pipeline.serve.answers import Answer
from pipeline.serve.config import ServeConfig
from pipeline.serve.errors import InvalidRequestError, RequestError, ServiceBusyError
from pipeline.serve.service import CountingService
from transforms.local_files import find_file
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.records import VideoRef
from transforms.text import printable

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

MEDIA_TYPE = "multipart/form-data"

MAX_PARTS = 8
"""Most parts of a form: the video, and fields."""

MAX_FIELD_BYTES = 1024
"""Longest value of a field."""

FORM_BYTES = 64 << 10
"""Most bytes of a form beside the video: boundaries, headers and fields."""

BLOCK_SEC = 30.0
"""Seconds in which the next bytes of an upload must arrive."""

BUDGET_UPLOADS = 4
"""All uploads at a time may take as many bytes of disk as this many of the largest size. Disk may be memory in a container."""

_RETRY_SEC = 5
"""Seconds after which disk may be free again, as clients are told."""

MAX_NAME_CHARS = 255

_FORM = (
    "the form must have one file, a part with a filename as curl -F video=@squats.mp4 sends it, "
    "and may have the field curve: true or false"
)

_PATH = re.compile(r"/dev/fd/\d+")


@dataclasses.dataclass(eq=False)
class UploadBudget:
    """Bytes of disk that uploads may take together.

    Attributes:
      free_bytes: Bytes that are left.
    """

    free_bytes: int

    def take(self, num_bytes: int) -> None:
        """Takes bytes; raises ServiceBusyError if there are not as many."""
        if num_bytes > self.free_bytes:
            raise ServiceBusyError(_RETRY_SEC, "other uploads take all the disk that uploads may take")
        self.free_bytes -= num_bytes


@dataclasses.dataclass(frozen=True)
class Upload:
    """A video that was uploaded.

    Attributes:
      video: The file on this machine, which has no other name than that of its descriptor.
      name: Name that the client gave it, without folders.
      curve: Whether the values of each frame are asked for.
    """

    video: VideoRef
    name: str
    curve: bool


async def count_upload(request: Request, service: CountingService, config: ServeConfig, budget: UploadBudget) -> Answer:
    """Returns the answer for the video in a request's form, under the name that the client gave it.

    Args:
      request: Request whose body is a form that was not read yet.
      service: Counts the video.
      config: The largest size of a video.
      budget: Bytes of disk for all uploads.

    Raises:
      InvalidRequestError: The body is no form with one file.
      RequestError: It is too large (413) or arrives too slowly (408); or see `CountingService.count`.
      ServiceBusyError: Other uploads take all the disk, or as many videos wait as may wait.
      MachineFaultError: The disk is full or broken.
    """
    service.check_open()
    async with _received(request, config.max_upload_bytes, budget) as upload:
        answer = await service.count(upload.video, keep=False, curve=upload.curve)
    record = {**answer.record, "video_uri": upload.name}
    if not answer.is_counted:
        record["message"] = _PATH.sub(lambda _: upload.name, record["message"])
    return dataclasses.replace(answer, record=record)


def clean_name(name: str) -> str:
    """Returns the last part of a file name as it may be shown: printable, not too long, never a path."""
    last = re.split(r"[/\\]", name)[-1].strip()
    shown = printable(last)[:MAX_NAME_CHARS]
    return shown if shown.strip(".") else "upload"


@contextlib.asynccontextmanager
async def _received(request: Request, max_bytes: int, budget: UploadBudget) -> AsyncIterator[Upload]:
    """Yields the upload in a request's form, whose file exists until the block ends."""
    length = request.headers.get("content-length", "")
    if length.isdecimal() and int(length) > max_bytes + FORM_BYTES:
        raise _too_large(max_bytes)
    taken_bytes = 0
    with contextlib.ExitStack() as stack:
        try:
            file = stack.enter_context(tempfile.TemporaryFile(prefix="repcount-", buffering=0))
            form = _Form(request.headers["content-type"], file, max_bytes)
            stack.callback(lambda: budget.take(-taken_bytes))
            blocks = request.stream().__aiter__()
            with contextlib.suppress(StopAsyncIteration):
                while True:
                    async with asyncio.timeout(BLOCK_SEC):
                        block = await anext(blocks)
                    budget.take(len(block))  # before it is written
                    taken_bytes += len(block)
                    await _shielded(form.write, block)
            name, curve = form.finish()
            video = find_file(f"/dev/fd/{file.fileno()}")
        except TimeoutError as error:
            raise RequestError(408, "TOO_SLOW", f"bytes of the video must arrive within {BLOCK_SEC:g} s") from error
        except OSError as error:
            if is_machine_fault(error):
                raise machine_fault("receiving a video", error) from error
            raise
        assert video is not None  # it is open
        yield Upload(video, name, curve)


async def _shielded(write: Callable[[bytes], None], block: bytes) -> None:
    """Writes in a thread, and waits for its end even if the request is cancelled, so that the file is not closed before."""
    writing = asyncio.ensure_future(asyncio.to_thread(write, block))
    try:
        await asyncio.shield(writing)
    except asyncio.CancelledError:
        await asyncio.wait({writing})
        raise


def _too_large(max_bytes: int) -> RequestError:
    return RequestError(413, "TOO_LARGE", f"the video must have at most {max_bytes:,} bytes")


class _Form:
    """A form that comes in block by block: one file, which goes to the disk, and short fields."""

    def __init__(self, content_type: str, file: BinaryIO, max_bytes: int) -> None:
        """Begins a form; raises InvalidRequestError if its type names no boundary."""
        self._file = file
        self._max_bytes = max_bytes
        self._form_bytes = self._file_bytes = 0
        self._num_parts = 0
        self._header, self._value = bytearray(), bytearray()
        self._disposition = ""
        self._field: str | None = None  # that of the part that comes in; None for the file
        self._fields: dict[str, bytearray] = {}
        self._name: str | None = None
        self._has_ended = False
        callbacks: MultipartCallbacks = {
            "on_part_begin": self._begin_part,
            "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
            "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
            "on_header_end": self._end_header,
            "on_headers_finished": self._end_headers,
            "on_part_data": self._take_data,
            "on_end": self._end,
        }
        _, parameters = parse_options_header(content_type)
        try:
            self._parser = MultipartParser(parameters[b"boundary"], callbacks)
        except (KeyError, FormParserError) as error:
            raise InvalidRequestError(
                "the content type must name the boundary of the form, of at most 256 characters, as in "
                f"{MEDIA_TYPE}; boundary=x. Clients add it, if no content type is set by hand"
            ) from error

    def write(self, block: bytes) -> None:
        """Takes the next bytes.

        Raises:
          InvalidRequestError: This is no such form.
          RequestError: The video or the rest is too large.
          OSError: The disk refuses.
        """
        self._form_bytes += len(block)
        if self._form_bytes - self._file_bytes > FORM_BYTES + len(block) or self._form_bytes > self._max_bytes + FORM_BYTES:
            raise _too_large(self._max_bytes)
        try:
            self._parser.write(block)
        except FormParserError as error:
            raise InvalidRequestError(
                "each part of the form must begin with the boundary that the content type names, and with complete headers"
            ) from error

    def finish(self) -> tuple[str, bool]:
        """Returns the file's name, and whether curves are asked for; raises InvalidRequestError."""
        curve = bytes(self._fields.get("curve", b"false")).strip().lower()
        if not self._has_ended:
            raise InvalidRequestError("the form must end with the boundary and --, and this one breaks off before")
        if self._name is None or curve not in (b"true", b"false") or set(self._fields) - {"curve"}:
            raise InvalidRequestError(_FORM)
        return self._name, curve == b"true"

    def _begin_part(self) -> None:
        self._num_parts += 1
        self._disposition = ""
        if self._num_parts > MAX_PARTS:
            raise InvalidRequestError(_FORM)

    def _end_header(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value.decode("utf-8", "replace")
        self._header, self._value = bytearray(), bytearray()

    def _end_headers(self) -> None:
        # The parser takes text as Latin-1, and names are UTF-8.
        _, found = parse_options_header(self._disposition.encode("utf-8").decode("latin-1"))
        parameters = {name.decode("latin-1"): value.decode("utf-8", "replace") for name, value in found.items()}
        if "filename" not in parameters:
            self._field = parameters.get("name", "")
            if self._field in self._fields:
                raise InvalidRequestError(_FORM)
            self._fields[self._field] = bytearray()
            return
        if self._name is not None:
            raise InvalidRequestError(_FORM)
        self._field, self._name = None, clean_name(parameters["filename"])

    def _take_data(self, data: bytes, start: int, end: int) -> None:
        if self._field is not None:
            value = self._fields[self._field]
            value += data[start:end]
            if len(value) > MAX_FIELD_BYTES:
                raise InvalidRequestError(_FORM)
            return
        self._file_bytes += end - start
        if self._file_bytes > self._max_bytes:
            raise _too_large(self._max_bytes)
        written = memoryview(data)[start:end]
        while written:
            written = written[self._file.write(written) :]

    def _end(self) -> None:
        self._has_ended = True
