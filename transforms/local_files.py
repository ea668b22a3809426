"""Files on this machine: looked up and listed, so that nothing that matches a pattern is lost silently.

Links are followed. A folder that links reach as well is listed once: under its own name if that is below the same root, else
under the name of the link that sorts first.
"""

from __future__ import annotations

import datetime
import errno
import heapq
import itertools
import os
import re
import stat
from collections.abc import Callable, Iterator

from transforms.left_out import LeftOut, Reason
from transforms.records import VideoRef

_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_LAST_MICROSECOND = (datetime.datetime.max.replace(tzinfo=datetime.UTC) - _EPOCH) // datetime.timedelta(microseconds=1)

_MOST_NANOSECONDS = 2**63 - 1

_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)
"""Error numbers that mean that there is no such file. Any other one says nothing about the file."""

_CLASS = r"\[!?+.[^\]]*\]"
"""A class of characters by Beam's rules: it has a first one, which may be "]", and an end. A "[" of no class is a plain one."""

_ANY_DEPTH = re.compile(rf"\*\*|\?|{_CLASS}", re.DOTALL)
"""Wildcards that may match a slash."""

WILDCARD = re.compile(rf"[*?]|{_CLASS}", re.DOTALL)
"""A wildcard of a pattern, local or remote."""

_ESCAPE_OR_SET = re.compile(r"\\.|\[\^?\]?[^\]]*\]", re.DOTALL)
"""An escaped character, or a set with all that is in it, in a regular expression that Beam makes of a pattern."""

_RANGE_OR_SIGN = re.compile(r"(\\.|.)(?:-(\\.|.))?", re.DOTALL)
"""A range of a set with its two ends, or a single character of it; either may be escaped."""


def find_file(path: str) -> VideoRef | None:
    """Returns the current version of a file, or None if there is no such regular file.

    Raises:
      OSError: The system does not say whether there is one, for example since a folder may not be entered.
    """
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno in _ABSENT:
            return None
        raise
    return _from_status(path, status) if stat.S_ISREG(status.st_mode) else None


def scan_files(pattern: str, limit: int | None = None) -> Iterator[VideoRef | LeftOut]:
    """Yields every file that a pattern matches, and every matching name that is no file or cannot be looked at.

    Args:
      pattern: Absolute path or pattern. An existing path is taken as it is, wildcards in its name included; a folder stands for
        everything below it.
      limit: Number of names after which the listing stops. None lists all.
    """
    return itertools.islice(_scan(pattern), limit)


def _scan(pattern: str) -> Iterator[VideoRef | LeftOut]:
    try:
        is_folder = stat.S_ISDIR(os.stat(pattern).st_mode)
    except OSError as error:
        if os.path.lexists(pattern):
            yield _unreadable(pattern, error)
        elif WILDCARD.search(pattern):
            yield from _match(pattern)
        elif error.errno not in _ABSENT:
            yield _unreadable(pattern, error)
        return
    if is_folder:
        yield from _Walk(lambda path: True, lambda depth, name: True).run(pattern)
    else:
        yield from _look_at(pattern)


def _match(pattern: str) -> Iterator[VideoRef | LeftOut]:
    """Yields what a pattern with wildcards matches by Beam's rules. Only folders that may contain a match are entered."""
    root = os.path.dirname(WILDCARD.split(pattern, maxsplit=1)[0])
    below = pattern[len(root) :].lstrip("/")
    parts = below.split("/")
    deep = _ANY_DEPTH.search(below)
    any_depth = below.count("/", 0, deep.start()) if deep else len(parts)
    part_matches = [compile_pattern(part).match for part in parts[:any_depth]]

    def enters(depth: int, name: str) -> bool:
        if depth >= any_depth:
            return any_depth < len(parts)
        return depth < len(parts) - 1 and part_matches[depth](name) is not None

    matches = compile_pattern(pattern).match
    yield from _Walk(lambda path: matches(path) is not None, enters).run(root)


def compile_pattern(pattern: str) -> re.Pattern[str]:
    """Returns a pattern of names, by Beam's rules, as a regular expression. Its `*` also stands for backslashes in names."""
    from apache_beam.io.filesystem import FileSystem

    expression = FileSystem.translate_pattern(pattern).replace(r"[^/\\]*", "[^/]*")
    return re.compile(_ESCAPE_OR_SET.sub(_escape_in_set, expression))


def _escape_in_set(found: re.Match[str]) -> str:
    """Returns an escape as it is, and a set with escapes for what Python warns about, since it may get a meaning there."""
    if not found[0].startswith("["):
        return found[0]
    start = "[^" if found[0].startswith("[^") else "["
    return f"{start}{_RANGE_OR_SIGN.sub(_escape_ends, found[0][len(start) : -1])}]"


def _escape_ends(found: re.Match[str]) -> str:
    return "-".join(end if end.startswith("\\") else re.escape(end) for end in found.groups() if end)


class _Walk:
    """Lists the files below a folder."""

    def __init__(self, matches: Callable[[str], bool], enters: Callable[[int, str], bool]) -> None:
        """Creates a walk.

        Args:
          matches: Returns whether a path matches the pattern.
          enters: Returns whether a folder may contain a match, from its depth below the root, 0 at least, and its name.
        """
        self._matches = matches
        self._enters = enters
        self._folders: list[tuple[str, int, bool]] = []
        self._links: list[tuple[str, int]] = []
        self._seen: set[tuple[int, int]] = set()

    def run(self, root: str) -> Iterator[VideoRef | LeftOut]:
        """Yields what is below a folder: first without links, so that what they reach as well has its own name."""
        self._folders.append((root, 0, False))
        while self._folders or self._links:
            if not self._folders:
                link, depth = heapq.heappop(self._links)
                self._folders.append((link, depth, True))
            yield from self._list(*self._folders.pop())

    def _list(self, folder: str, depth: int, linked: bool) -> Iterator[VideoRef | LeftOut]:
        try:
            status = os.stat(folder)
            identity = status.st_dev, status.st_ino
            if linked and identity in self._seen:
                return
            self._seen.add(identity)
            with os.scandir(folder) as entries:
                for entry in entries:
                    yield from self._take(entry, depth, linked)
        except OSError as error:
            if error.errno not in _ABSENT or os.path.islink(folder):  # else it was deleted during the listing
                yield _unreadable(folder, error, is_folder=True)

    def _take(self, entry: os.DirEntry[str], depth: int, linked: bool) -> Iterator[VideoRef | LeftOut]:
        try:
            is_link, is_folder, error = entry.is_symlink(), entry.is_dir(), None
        except OSError as unknown:
            is_link, is_folder, error = True, False, unknown
        if is_folder:
            if self._enters(depth, entry.name):
                if is_link:
                    heapq.heappush(self._links, (entry.path, depth + 1))
                else:
                    self._folders.append((entry.path, depth + 1, linked))
        elif self._matches(entry.path):
            yield from _look_at(entry.path)
        elif is_link and self._enters(depth, entry.name) and not (os.path.exists(entry.path) or has_suffix(entry.name)):
            # By its name, this link that leads nowhere may have been one to a folder.
            yield _unreadable(entry.path, error or FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT)))


def has_suffix(path: str) -> bool:
    """Returns whether the name of a path has a suffix, as names of files do and those of folders seldom."""
    return os.path.splitext(path)[1] != ""


def _look_at(path: str) -> Iterator[VideoRef | LeftOut]:
    """Yields a file, or why it is none; nothing if it was deleted during the listing."""
    try:
        status = os.stat(path)
    except OSError as error:
        if error.errno not in _ABSENT or os.path.lexists(path):
            yield _unreadable(path, error)
        return
    yield _from_status(path, status) if stat.S_ISREG(status.st_mode) else LeftOut(path, Reason.NOT_A_FILE)


def _unreadable(path: str, error: OSError, *, is_folder: bool = False) -> LeftOut:
    why = error.strerror or str(error)
    if os.path.islink(path) and error.errno in _ABSENT:
        why = "the link leads nowhere" if error.errno == errno.ENOENT else f"the link leads nowhere: {why}"
    return LeftOut(path, Reason.UNREADABLE_FOLDER if is_folder else Reason.UNREADABLE, why)


def _from_status(path: str, status: os.stat_result) -> VideoRef:
    return VideoRef(path, file_generation(status), status.st_size, utc_time(status.st_mtime_ns // 1000))


def file_generation(status: os.stat_result) -> int:
    """Returns what tells versions of a local file apart: its modification time in nanoseconds since 1970, limited to 64 bits.

    Beam's float is too coarse for two writes in a row. Files may state times after 2262, which need more bits.
    """
    return max(-_MOST_NANOSECONDS, min(status.st_mtime_ns, _MOST_NANOSECONDS))


def utc_time(microseconds: int) -> datetime.datetime:
    """Returns a UTC time limited to 1970..9999, since the time of a file can be set to any number."""
    return _EPOCH + datetime.timedelta(microseconds=max(0, min(microseconds, _LAST_MICROSECOND)))
