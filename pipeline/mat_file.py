"""Reads the numbers of a struct in a MATLAB file of version 5, as `save` writes it by default.

SciPy reads these files, too, but of a damaged one its reader ends the process with a segmentation fault (1.17.1). This one says
that it is damaged. UCFRep needs three fields of one struct.
Format: "MAT-File Format", MathWorks, section "Version 5 MAT-File Format".
"""

from __future__ import annotations

import dataclasses
import struct
import zlib
from collections.abc import Iterator
from typing import Literal

import numpy as np

_HEADER_BYTES = 128

_Order = Literal["<", ">"]

_ORDERS: dict[bytes, _Order] = {b"IM": "<", b"MI": ">"}
"""Byte order by the last two bytes of the header."""

_MAX_UNPACKED_BYTES = 16 << 20

_MATRIX, _COMPRESSED = 14, 15
_NUMBERS = {1: "i1", 2: "u1", 3: "i2", 4: "u2", 5: "i4", 6: "u4", 7: "f4", 9: "f8", 12: "i8", 13: "u8"}
"""NumPy's name of each type of stored numbers. MATLAB stores numbers in the smallest type that holds them."""

_STRUCT_CLASS = 2
_NUMERIC_CLASSES = range(6, 16)


class MatFileError(ValueError):
    """The content is not a MATLAB file of version 5, or does not have the struct."""


@dataclasses.dataclass(frozen=True)
class _Element:
    """A data element: its type, and its bytes without padding."""

    kind: int
    content: bytes


def read_struct(content: bytes, name: str) -> dict[str, np.ndarray]:
    """Returns the numeric fields of a struct.

    Args:
      content: Bytes of the file.
      name: Name of the variable, a struct of one element.

    Returns:
      {field: its numbers in MATLAB's order, column by column, (n,) float64}. An empty one has none. Other fields are left out.

    Raises:
      MatFileError: The content is not a MATLAB file of version 5, or has no such struct.
    """
    order = _ORDERS.get(content[126:_HEADER_BYTES])
    if order is None or not content.startswith(b"MATLAB 5.0"):
        raise MatFileError("it does not begin as one")
    try:
        for element in _elements(content[_HEADER_BYTES:], order):
            fields = _read_fields(_unpack(element, order), order, name)
            if fields is not None:
                return fields
    except (struct.error, zlib.error, ValueError, LookupError, OverflowError, StopIteration) as error:
        raise MatFileError("it is damaged") from error
    raise MatFileError(f"it has no struct named {name}")


def _elements(content: bytes, order: _Order) -> Iterator[_Element]:
    """Yields the data elements that follow each other in some bytes."""
    start = 0
    while start < len(content):
        kind, size = struct.unpack_from(f"{order}II", content, start)
        body, step = start + 8, 8
        if kind >> 16:  # a small element: size, type and up to four bytes in eight
            kind, size, body = kind & 0xFFFF, kind >> 16, start + 4
        else:
            step += size if kind == _COMPRESSED else -(-size // 8) * 8
        if body + size > len(content):
            raise ValueError("an element is longer than the file")
        yield _Element(kind, content[body : body + size])
        start += step


def _unpack(element: _Element, order: _Order) -> _Element:
    """Returns the element that a compressed one holds; others as they are."""
    if element.kind != _COMPRESSED:
        return element
    (unpacked,) = _elements(zlib.decompressobj().decompress(element.content, _MAX_UNPACKED_BYTES), order)
    return unpacked


def _read_fields(element: _Element, order: _Order, name: str) -> dict[str, np.ndarray] | None:
    """Returns the numeric fields of an element; None if it is not a struct of that name."""
    if element.kind != _MATRIX:
        return None
    parts = _elements(element.content, order)
    kind, _, shown_name = _read_head(parts, order)
    if kind != _STRUCT_CLASS or shown_name != name.encode():
        return None
    length = int(_numbers(next(parts), order)[0])
    names = next(parts).content
    fields = [names[start : start + length].rstrip(b"\0").decode("ascii") for start in range(0, len(names), length)]
    return {
        field: numbers for field, part in zip(fields, parts, strict=True) if (numbers := _read_numbers(part, order)) is not None
    }


def _read_numbers(element: _Element, order: _Order) -> np.ndarray | None:
    """Returns the numbers of an array; None if it does not hold numbers."""
    if element.kind != _MATRIX:
        return None
    if not element.content:  # how MATLAB writes [] that nobody assigned
        return np.zeros(0)
    parts = _elements(element.content, order)
    kind, size, _ = _read_head(parts, order)
    if kind not in _NUMERIC_CLASSES:
        return None
    numbers = _numbers(next(parts), order)
    if len(numbers) != size:
        raise ValueError("an array has another size than it says")
    return numbers


def _read_head(parts: Iterator[_Element], order: _Order) -> tuple[int, int, bytes]:
    """Returns class, number of elements and name of an array, with which it begins."""
    flags, dimensions, name = next(parts), next(parts), next(parts)
    return int(_numbers(flags, order)[0]) & 0xFF, int(_numbers(dimensions, order).prod()), name.content


def _numbers(element: _Element, order: _Order) -> np.ndarray:
    return np.frombuffer(element.content, np.dtype(_NUMBERS[element.kind]).newbyteorder(order)).astype(np.float64)
