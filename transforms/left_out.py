"""What a listing leaves out, and why: objects that are no videos, and names that cannot be looked at. Does not import Beam."""

from __future__ import annotations

import collections
import dataclasses
import enum
import re
from collections.abc import Mapping

_PLAIN_SUFFIX = re.compile(r"[a-z0-9]{1,8}")
"""Suffixes that are named in the counts; names of uploads may end with anything."""

_NAMED_SUFFIXES = 8
"""Most suffixes in one line; the others are added up."""

_SUFFIX_KIND = "SUFFIX_"

OTHER_SUFFIX_KIND = f"{_SUFFIX_KIND}OTHER"
"""Kind of the names whose suffix is not counted by itself."""

MAX_NAMED_LOST = 20
"""Most names that cannot be looked at that are named; the others are counted."""


class Reason(enum.StrEnum):
    """Why a matched name is not part of a run."""

    SUFFIX = "SUFFIX"
    COMPANION = "COMPANION"
    PLACEHOLDER = "PLACEHOLDER"
    NOT_A_FILE = "NOT_A_FILE"
    UNREADABLE = "UNREADABLE"
    UNREADABLE_FOLDER = "UNREADABLE_FOLDER"


_UNREADABLE = (Reason.UNREADABLE, Reason.UNREADABLE_FOLDER)

_DESCRIPTIONS = {
    Reason.COMPANION: "companions or trash of an operating system",
    Reason.PLACEHOLDER: "placeholders of folders",
    Reason.NOT_A_FILE: "not regular files",
    Reason.UNREADABLE: "files that cannot be looked at",
    Reason.UNREADABLE_FOLDER: "folders that cannot be listed",
}


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A name that a pattern matches and that is not part of the run.

    Attributes:
      uri: Local path or `gs://` URI.
      reason: Why it was left out.
      message: What the system said, one line; "" unless the name cannot be looked at.
    """

    uri: str
    reason: Reason
    message: str = ""

    @property
    def is_lost(self) -> bool:
        """Whether there may be a video that the run does not see, so that the run must not end well."""
        return self.reason in _UNREADABLE

    def __str__(self) -> str:
        what = f"cannot be looked at: {self.message}" if self.is_lost else f"is left out: {self.reason}"
        return f"{self.uri!r} {what}"

    @property
    def kind(self) -> str:
        """Key under which it is counted: its reason, or `SUFFIX_` and its lower-case suffix, `NONE` or `OTHER`."""
        if self.reason is not Reason.SUFFIX:
            return self.reason.value
        stem, dot, suffix = self.uri.rsplit("/", 1)[-1].lower().rpartition(".")
        if not (stem and dot):
            return f"{_SUFFIX_KIND}NONE"
        return f"{_SUFFIX_KIND}{suffix if _PLAIN_SUFFIX.fullmatch(suffix) else 'OTHER'}"


@dataclasses.dataclass
class LeftOutAccount:
    """What a listing left out.

    Attributes:
      numbers: Number of names by `LeftOut.kind`.
      lost: First names that could not be looked at.
    """

    numbers: collections.Counter[str] = dataclasses.field(default_factory=collections.Counter)
    lost: list[LeftOut] = dataclasses.field(default_factory=list)

    def add(self, left_out: LeftOut) -> None:
        """Takes a name into account."""
        self.numbers[left_out.kind] += 1
        if left_out.is_lost and len(self.lost) < MAX_NAMED_LOST:
            self.lost.append(left_out)


def is_suffix_kind(kind: str) -> bool:
    """Returns whether a kind counts names by their suffix."""
    return kind.startswith(_SUFFIX_KIND)


def lost_objects(left_out: Mapping[str, int]) -> int:
    """Returns how many names could not be looked at, from numbers by kind."""
    return sum(left_out.get(reason.value, 0) for reason in _UNREADABLE)


def describe_left_out(left_out: Mapping[str, int]) -> str:
    """Returns numbers by kind in words, such as "3 without a video's suffix (.txt 2, none 1), 1 not regular files"."""
    by_suffix = {kind.removeprefix(_SUFFIX_KIND): number for kind, number in left_out.items() if is_suffix_kind(kind)}
    parts = []
    if by_suffix:
        ranked = sorted((suffix for suffix in by_suffix if suffix != "OTHER"), key=lambda suffix: (-by_suffix[suffix], suffix))
        named = [f"{'none' if suffix == 'NONE' else '.' + suffix} {by_suffix[suffix]:,}" for suffix in ranked[:_NAMED_SUFFIXES]]
        others = by_suffix.get("OTHER", 0) + sum(by_suffix[suffix] for suffix in ranked[_NAMED_SUFFIXES:])
        named += [f"others {others:,}"] if others else []
        parts.append(f"{sum(by_suffix.values()):,} without a video's suffix ({', '.join(named)})")
    parts += [f"{left_out[reason]:,} {text}" for reason, text in _DESCRIPTIONS.items() if left_out.get(reason)]
    return ", ".join(parts)


def left_out_line(left_out: Mapping[str, int]) -> str:
    """Returns how many matched names a listing left out, and why, in one line."""
    hint = "; --suffixes and --all_files take other names" if any(map(is_suffix_kind, left_out)) else ""
    return f"left out: {describe_left_out(left_out)}{hint}"
