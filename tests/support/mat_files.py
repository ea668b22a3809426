"""MATLAB files for tests."""

from __future__ import annotations

import base64
import struct
import zlib
from collections.abc import Mapping, Sequence

SAVED_BY_SCIPY = base64.b64decode(
    b"TUFUTEFCIDUuMCBNQVQtZmlsZSBQbGF0Zm9ybTogcG9zaXgsIENyZWF0ZWQgb246IFRodSBOb3YgMjYgMjA6NDQ6NDkgMjAyNgAAAAAAAAAAAAAAAAAAAA"
    b"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABSU0PAAAAMAAAAHic42NgYAgAYjYg5oDSIMAK5TMCMTOUBonll2SkFgFpTiCWYEAHH+yh"
    b"DAcAiwQEPA8AAADTAAAAeJylUrEKwjAQPaUtClI66O4nODp2dNNJx5LSKxTaRNIrOPoP/ox/p5cYaNTSpQ8euXvJe1xCYgB4zgEiXhdMLi1C1888Gq0WOd"
    b"a2DmDj9Aez6LSgSknw0ZLQlJVaNNiLKItfCYCwuSot6ixXHe/LrvkT3UlVli1SJvFGGbZUNYIQpKKvuB4xcw/9/aKR+xksnW5xP6eT/LCY6L9M9CfWfxrx"
    b"BwP+rTf/5x1Stx5Tf66Dl7samCv0ck29Zr4GYPZN3s7LCwbyAi8v4Y74D7wBG3FFTA=="
)
"""A compressed file that SciPy wrote: the array `other`, and the struct `label` with numbers and a text."""


def write_mat(name: str, fields: Mapping[str, Sequence[float] | None], *, order: str = "<", compressed: bool = True) -> bytes:
    """Returns a MATLAB file with one struct.

    Args:
      name: Name of the struct.
      fields: Fields of the struct, each a column of numbers. None is a field that nobody assigned.
      order: "<" for little-endian, ">" for big-endian.
      compressed: Whether to compress the struct, as MATLAB does by default.
    """
    names = b"".join(field.encode().ljust(32, b"\0") for field in fields)
    arrays = [
        _element(14, b"", order)
        if numbers is None
        else _array(6, (len(numbers), 1), b"", _element(9, struct.pack(f"{order}{len(numbers)}d", *numbers), order), order)
        for numbers in fields.values()
    ]
    parts = _element(5, struct.pack(f"{order}i", 32), order) + _element(1, names, order) + b"".join(arrays)
    content = _array(2, (1, 1), name.encode(), parts, order)
    if compressed:
        packed = zlib.compress(content)
        content = struct.pack(f"{order}II", 15, len(packed)) + packed
    text = b"MATLAB 5.0 MAT-file, made for a test".ljust(124)
    return text + struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI") + content


def _element(kind: int, content: bytes, order: str) -> bytes:
    return struct.pack(f"{order}II", kind, len(content)) + content + bytes(-len(content) % 8)


def _array(kind: int, shape: tuple[int, int], name: bytes, parts: bytes, order: str) -> bytes:
    flags = _element(6, struct.pack(f"{order}II", kind, 0), order)
    return _element(14, flags + _element(5, struct.pack(f"{order}2i", *shape), order) + _element(1, name, order) + parts, order)
