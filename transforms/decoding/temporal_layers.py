"""HEVC's temporal layers: which frames no other frame refers to. Imports no Beam.

A picture that HEVC calls a "sub-layer non-reference picture" (ITU-T H.265, table 7-1) is not referred to by pictures of its own
temporal layer. Those of higher layers may refer to it, as in the slow motion of phones. FFmpeg takes it for one that nothing
refers to. That is right in the highest layer only.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_START_CODE = re.compile(b"\x00\x00\x01")
_VIDEO_PARAMETER_SET = 32
_FIRST_WITHOUT_PICTURE = 32
"""Types of units below it are parts of pictures."""

_RECORD_BYTES = 23
"""Size of an MP4 or Matroska file's description of the stream, without its parameter sets (ISO/IEC 14496-15)."""


class TemporalLayers:
    """The temporal layers of an HEVC stream.

    Attributes:
      number: How many there are; 0 if the stream does not say.
    """

    def __init__(self, description: bytes | None) -> None:
        """Reads how many layers there are.

        Args:
          description: FFmpeg's `extradata`: a record as in MP4 and Matroska files, or units with start codes.
        """
        data = description or b""
        self._length_bytes = 0  # of what is before each unit; 0 if start codes are
        self.number = 0
        if len(data) >= _RECORD_BYTES and data[0] == 1:
            self._length_bytes = (data[21] & 3) + 1
            self.number = data[21] >> 3 & 7
        for unit in _parameter_sets(data) if self._length_bytes else self._units(data):
            if not self.number and _type(unit) == _VIDEO_PARAMETER_SET and len(unit) >= 4:
                self.number = (unit[3] >> 1 & 7) + 1

    def is_highest(self, packet: bytes) -> bool:
        """Returns whether the picture in a packet is in the highest layer. One above what the stream says is not."""
        for unit in self._units(packet):
            if _type(unit) < _FIRST_WITHOUT_PICTURE and len(unit) >= 2:
                return unit[1] & 7 == self.number
        return False

    def _units(self, data: bytes) -> Iterator[bytes]:
        """Yields the first bytes of each unit: enough for its header, its type and its layer."""
        if not self._length_bytes:
            yield from (data[match.end() : match.end() + 4] for match in _START_CODE.finditer(data))
            return
        at = 0
        while at + self._length_bytes < len(data):
            begin = at + self._length_bytes
            yield data[begin : begin + 4]
            at = begin + int.from_bytes(data[at:begin], "big")


def _parameter_sets(record: bytes) -> Iterator[bytes]:
    """Yields the first bytes of each unit in a record, some of which, such as those of Android, do not state the layers."""
    at = _RECORD_BYTES
    for _ in range(record[_RECORD_BYTES - 1]):
        number = int.from_bytes(record[at + 1 : at + 3], "big")
        at += 3
        for _ in range(number):
            if at + 2 >= len(record):
                return
            yield record[at + 2 : at + 6]
            at += 2 + int.from_bytes(record[at : at + 2], "big")


def _type(unit: bytes) -> int:
    return unit[0] >> 1 & 63 if unit else _FIRST_WITHOUT_PICTURE
