"""Standard output and standard error that may be closed, full, cut off by `| head`, or not UTF-8."""

from __future__ import annotations

import codecs
import io
import os
import sys
from typing import Any, TextIO, cast

_REPLACEMENTS = {"…": "...", "–": "-", "\N{REPLACEMENT CHARACTER}": "?"}
"""Spellings of characters that the encoding of a stream may lack; others become escapes such as \\xe9."""

_ERROR_HANDLER = "repcount"


class OutputError(Exception):
    """Standard output cannot be written. Not an OSError, which commands report as a fault of their files."""


class GuardedStream:
    """A text stream that never raises OSError. After its first error, everything goes to the null device.

    Attributes:
      error: The first error of the stream; None if there was none.
      raises: Whether the first error raises OutputError.
    """

    def __init__(self, stream: TextIO, raises: bool) -> None:
        self.error: OSError | None = None
        self.raises = raises
        self._stream = stream

    def write(self, text: str) -> int:
        """Writes text; raises OutputError at the first error, if `raises`."""
        try:
            return self._stream.write(text)
        except OSError as error:
            self._lose(error)
        return len(text)

    def flush(self) -> None:
        """Writes what is buffered; raises OutputError at the first error, if `raises`."""
        try:
            self._stream.flush()
        except OSError as error:
            self._lose(error)

    def __getattr__(self, name: str) -> Any:
        """Returns an attribute of the stream itself."""
        return getattr(self._stream, name)

    def _lose(self, error: OSError) -> None:
        """Keeps the error, and lets the rest of the output, buffered or not, go to the null device."""
        is_first = self.error is None
        self.error = self.error or error
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, self._stream.fileno())
        os.close(null)
        if is_first and self.raises:
            raise OutputError(error.strerror) from error


def guard_streams() -> GuardedStream:
    """Replaces this process's standard output and standard error by guarded ones; returns standard output.

    A closed stream is opened on the null device first. Otherwise a file, such as a database, would get its number, and whatever
    a library prints would end up in that file.
    """
    for number, flags in ((0, os.O_RDONLY), (1, os.O_RDONLY), (2, os.O_WRONLY)):  # a write to 1 fails as it would when closed
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, flags)  # gets the lowest free number
    codecs.register_error(_ERROR_HANDLER, _replace)
    output = GuardedStream(_usable(sys.stdout, 1), raises=True)
    sys.stdout = cast(TextIO, output)
    sys.stderr = cast(TextIO, GuardedStream(_usable(sys.stderr, 2), raises=False))
    return output


def _usable(stream: TextIO | None, number: int) -> TextIO:
    """Returns a stream that can write any character; Python has none for a file number that was closed at its start."""
    if stream is None:
        stream = open(number, "w", encoding="utf-8", closefd=False)  # noqa: SIM115 - open until the process ends
    cast(io.TextIOWrapper, stream).reconfigure(errors=_ERROR_HANDLER)
    return stream


def _replace(error: UnicodeError) -> tuple[str | bytes, int]:
    """Spells characters that an encoding lacks with those of ASCII."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    characters = error.object[error.start : error.end]
    spelled = (_REPLACEMENTS.get(character) or ascii(character)[1:-1] for character in characters)
    return "".join(spelled), error.end
