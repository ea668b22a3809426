"""Finds files that are joined by appending one to another, in formats of which players show the first one only.

Reads the heads of a file's parts and not their contents. Imports neither Beam nor FFmpeg.
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from typing import BinaryIO

_MAX_PARTS = 1_000_000
"""Parts of a file to look at; hours of FLV have fewer."""

_FIRST_BOXES = (b"ftyp", b"moov", b"mdat", b"wide", b"free", b"skip", b"pnot", b"styp", b"uuid")
"""Types of box with which an MP4 or MOV may start."""

_FLV_HEAD_BYTES = 9
_FLV_TAG_HEAD_BYTES = 11
_FLV_TAG_TYPES = (8, 9, 18)
"""Types of FLV tags: sound, video and script data."""

_ASF_HEADER = bytes.fromhex("3026b2758e66cf11a6d900aa0062ce6c")
"""Identifier of the object with which an ASF file starts."""


def has_second_file(file: BinaryIO) -> bool:
    """Returns whether another file of the same kind is appended to an MP4, MOV, FLV, WMV or ASF.

    Players leave out the other one, or parts of it if it is a fragmented MP4. False for all other formats.

    Args:
      file: Regular file. Its position changes.

    Raises:
      OSError: The file cannot be read.
    """
    size_bytes = file.seek(0, os.SEEK_END)
    head = _read_at(file, 0, 16)
    if head[4:8] in _FIRST_BOXES:
        return _has_second_index(file, size_bytes)
    if head.startswith(b"FLV"):
        return _follows_itself(_flv_parts(file, size_bytes), b"FLV\x01")
    if head == _ASF_HEADER:
        return _follows_itself(_asf_parts(file, size_bytes), _ASF_HEADER)
    return False


def _read_at(file: BinaryIO, position: int, num_bytes: int) -> bytes:
    file.seek(position)
    return file.read(num_bytes)


def _follows_itself(heads: Iterator[bytes], first: bytes) -> bool:
    """Returns whether one of the parts after the first starts as a file does."""
    return any(head.startswith(first) for head in heads)


def _has_second_index(file: BinaryIO, size_bytes: int) -> bool:
    """Returns whether an MP4 or MOV has a second `ftyp` or `moov` box, of which a file has one each."""
    position = 0
    seen: set[bytes] = set()
    for _ in range(_MAX_PARTS):
        head = _read_at(file, position, 16)
        if len(head) < 8:
            return False
        box_bytes, kind = struct.unpack_from(">I4s", head)
        if box_bytes == 1 and len(head) == 16:
            (box_bytes,) = struct.unpack_from(">Q", head, 8)
        if kind in seen:
            return True
        if kind in (b"ftyp", b"moov"):
            seen.add(kind)
        position += box_bytes
        if box_bytes < 8 or position >= size_bytes:  # 0 means up to the end
            return False
    return False


def _flv_parts(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Yields the head of each tag of an FLV, and of whatever follows the last one."""
    position = _FLV_HEAD_BYTES + 4  # each part is followed by its size, in 4 bytes
    for _ in range(_MAX_PARTS):
        if position >= size_bytes:
            return
        head = _read_at(file, position, _FLV_TAG_HEAD_BYTES)
        yield head
        if len(head) < _FLV_TAG_HEAD_BYTES or head[0] & 31 not in _FLV_TAG_TYPES:
            return
        position += _FLV_TAG_HEAD_BYTES + int.from_bytes(head[1:4], "big") + 4


def _asf_parts(file: BinaryIO, size_bytes: int) -> Iterator[bytes]:
    """Yields the head of each object of an ASF file after the first one."""
    position = 0
    for _ in range(_MAX_PARTS):
        head = _read_at(file, position, 24)
        if position:
            yield head
        object_bytes = int.from_bytes(head[16:24], "little")
        position += object_bytes
        if object_bytes < 24 or position >= size_bytes:
            return
