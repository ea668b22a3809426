"""Matching: finds the videos that patterns match. See `transforms.objects` for patterns. Does not import Beam."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import itertools
import os
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

from model.errors import UserError
from transforms.left_out import LeftOut, LeftOutAccount, Reason, describe_left_out
from transforms.local_files import WILDCARD, has_suffix
from transforms.machine_faults import MachineFaultError, is_machine_fault
from transforms.objects import absolute, check_readable, scan_objects
from transforms.records import VideoRef
from transforms.run_files import ATTEMPTS_FOLDER, ATTEMPTS_SUFFIX, STAGING_FOLDER, STAGING_SUFFIX

VIDEO_SUFFIXES = (
    ".264",
    ".265",
    ".3g2",
    ".3gp",
    ".asf",
    ".avc",
    ".avi",
    ".divx",
    ".f4v",
    ".flv",
    ".gif",
    ".h264",
    ".h265",
    ".hevc",
    ".insv",
    ".ivf",
    ".m1v",
    ".m2t",
    ".m2ts",
    ".m2v",
    ".m4v",
    ".mk3d",
    ".mkv",
    ".mov",
    ".mp4",
    ".mp4v",
    ".mpe",
    ".mpeg",
    ".mpg",
    ".mpv",
    ".mts",
    ".mxf",
    ".ogm",
    ".ogv",
    ".qt",
    ".tod",
    ".trp",
    ".ts",
    ".vob",
    ".webm",
    ".wmv",
    ".xvid",
)
"""Lower-case suffixes by which an object that a wildcard matched counts as a video: those of the formats that are decoded."""

ALL_SUFFIXES = ("",)
"""Suffixes that every name has."""

_COMPANION_FOLDERS = re.compile(
    r"\.trash(-\d+|es)?|\$recycle\.bin|recycler|lost\+found|system volume information|__macosx|@eadir|#recycle|\.appledouble"
    r"|\.spotlight-v100|\.fseventsd|\.documentrevisions-v100|\.temporaryitems",
    re.IGNORECASE,
)
"""Folders in which operating systems and file servers keep what was deleted, or their own notes on each file."""

_COMPANION_FILES = re.compile(
    r"\._.*|\.repcount-\d+\..*|\.ds_store|\$i[a-z0-9]{6}(\..*)?|thumbs\.db|desktop\.ini", re.IGNORECASE | re.DOTALL
)
"""Files that operating systems store beside others, and files that are not complete yet.

`._x.mov` has the attributes of `x.mov`, and no pictures. `.repcount-7.x.mp4` is a video that process 7 annotates.
"""

_PROBED_OBJECTS = 100
"""Objects that `check_matches` looks at before it lists a large bucket whole."""

_T = TypeVar("_T")


class NoMatchError(UserError, ValueError):
    """A pattern matches no video, or cannot be listed."""


@dataclasses.dataclass(frozen=True)
class ListingFilter:
    """Filter applied to matched videos. Videos that do not pass are not part of the run.

    Attributes:
      updated_after: Earliest upload time (inclusive), with time zone; None for no limit.
      updated_before: Latest upload time (exclusive), with time zone; None for no limit.
      sample: Share of the videos to list, above 0 and at most 1. The choice depends on names alone: it is the same every time,
        and a larger sample contains a smaller one.
      tables: Path of the local file of the tables, which is no video, nor is what a run stores beside it; "" for none.
      temp_location: Folder on Cloud Storage in which runs stage rows, which are no videos either; "" for none.
    """

    updated_after: datetime.datetime | None = None
    updated_before: datetime.datetime | None = None
    sample: float = 1.0
    tables: str = ""
    temp_location: str = ""

    def __post_init__(self) -> None:
        """Raises ValueError if the sample is outside 0..1 or the two times leave nothing between them."""
        if not 0 < self.sample <= 1:
            raise ValueError(f"sample must be above 0 and at most 1. Received: {self.sample}")
        if self.updated_after and self.updated_before and self.updated_after >= self.updated_before:
            raise ValueError(f"updated_before must be later than updated_after. Received: {self.updated_before}")

    def takes(self, video: VideoRef) -> bool:
        """Returns whether a video passes the filter."""
        if self.tables and video.uri.startswith(self.tables):
            rest = video.uri.removeprefix(self.tables)
            if rest in ("", ".wal") or rest.startswith((f"{ATTEMPTS_SUFFIX}/", STAGING_SUFFIX)):
                return False
        folders = (f"{self.temp_location}/{STAGING_FOLDER}/", f"{self.temp_location}/{ATTEMPTS_FOLDER}/")
        if self.temp_location and video.uri.startswith(folders):
            return False
        if self.updated_after is not None and video.updated < self.updated_after:
            return False
        if self.updated_before is not None and video.updated >= self.updated_before:
            return False
        return self.sample == 1 or _hash_fraction(video.uri) < self.sample


def _hash_fraction(uri: str) -> float:
    """Returns an evenly distributed number in 0..1 (1 excluded) that depends on the URI alone."""
    return int.from_bytes(hashlib.sha256(os.fsencode(uri)).digest()[:6], "big") / 2**48


def list_videos(pattern: str, suffixes: Sequence[str] = VIDEO_SUFFIXES) -> Iterator[VideoRef]:
    """Yields the videos among what `match_objects` yields, for callers that need no account of the rest."""
    return (found for found in match_objects(pattern, suffixes) if isinstance(found, VideoRef))


def match_objects(
    pattern: str,
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
    limit: int | None = None,
    billing_project: str | None = None,
) -> Iterator[VideoRef | LeftOut]:
    """Yields the videos that a pattern matches, in the file system's order, and each other match with why it is left out.

    Args:
      pattern: Path, directory or pattern, local or remote.
      suffixes: Lower-case suffixes that make an object a video. A pattern that names an object exactly takes any name.
      limit: Number of matches after which listing stops. None lists all.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Raises:
      ValueError: no file system has this scheme.
      BeamIOError: the file system cannot list the pattern.
    """
    judge = _judge(pattern, tuple(suffixes))
    return (judge(found) for found in scan_objects(pattern, limit, billing_project))


def match_videos(
    pattern: str, suffixes: Sequence[str], account: LeftOutAccount, billing_project: str | None = None
) -> Iterator[VideoRef]:
    """Yields the videos that a pattern matches, as `match_objects` does, and adds other matches to an account."""
    for found in match_objects(pattern, suffixes, billing_project=billing_project):
        if isinstance(found, VideoRef):
            yield found
        else:
            account.add(found)


def _judge(pattern: str, suffixes: tuple[str, ...]) -> Callable[[VideoRef | LeftOut], VideoRef | LeftOut]:
    """Returns the function that leaves out a match by its name."""
    exact = absolute(pattern)
    wildcard = WILDCARD.search(exact)
    fixed = exact[: wildcard.start()].rpartition("/")[0] if wildcard else exact

    def judge(found: VideoRef | LeftOut) -> VideoRef | LeftOut:
        if found.uri == exact:
            return found
        *folders, name = found.uri.removeprefix(fixed).lstrip("/").split("/")
        if isinstance(found, LeftOut) and found.reason is Reason.UNREADABLE_FOLDER:
            folders.append(name)
        if any(map(_COMPANION_FOLDERS.fullmatch, folders)) or _COMPANION_FILES.fullmatch(name):
            return LeftOut(found.uri, Reason.COMPANION)
        is_file = isinstance(found, VideoRef) or (found.reason is Reason.UNREADABLE and has_suffix(name))
        return LeftOut(found.uri, Reason.SUFFIX) if is_file and not name.lower().endswith(suffixes) else found

    return judge


def check_matches(
    patterns: Iterable[str], suffixes: Sequence[str] = VIDEO_SUFFIXES, billing_project: str | None = None
) -> None:
    """Checks, before any worker starts, that each pattern matches at least one readable video.

    Raises:
      NoMatchError: a pattern matches no video. The message names the pattern, how many other objects it matched, and why they
        are no videos.
    """
    for pattern in patterns:
        check_any_matches(pattern, [pattern], suffixes, billing_project=billing_project)


def check_any_matches(
    template: str,
    patterns: Iterable[str],
    suffixes: Sequence[str] = VIDEO_SUFFIXES,
    on_any_day: Iterable[str] = (),
    billing_project: str | None = None,
) -> bool:
    """Checks that at least one of several patterns matches a video, and that the first video found is readable.

    Args:
      template: Input as the user wrote it, such as `gs://gym/{date}/**`. Error messages quote it.
      patterns: Patterns made from the template.
      suffixes: Lower-case suffixes that make an object a video.
      on_any_day: Wider patterns. If no pattern matches a video but one of these does, that is no error.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.

    Returns:
      Whether one of `patterns` matches a video.

    Raises:
      NoMatchError: no pattern matches a video, a pattern cannot be listed, or the video cannot be read.
      MachineFaultError: the machine or the store has failed, which may pass.
    """
    if not template:
        raise NoMatchError("an input is a file, a directory or a pattern such as DIR/**.mp4. Received: ''")
    account = LeftOutAccount()
    wider = list(on_any_day)
    for pattern, is_wider in itertools.chain(zip(patterns, itertools.repeat(False)), zip(wider, itertools.repeat(True))):
        try:
            found = _find_video(pattern, suffixes, account, billing_project)
            if found is not None:
                check_readable(found, billing_project)
                return not is_wider
        except (OSError, ValueError) as error:
            message = f"{textwrap.shorten(str(error), 300)} Received: {pattern!r}"
            if is_machine_fault(error) and not _lacks_login(error.__cause__):
                raise MachineFaultError(message) from error
            raise NoMatchError(message) from error
    if account.lost:
        raise NoMatchError(f"this input matches no video, and {account.lost[0]}. Received: {template!r}")
    if account.numbers:
        matched, why = account.numbers.total(), describe_left_out(account.numbers)
        raise NoMatchError(
            f"this input matches {matched:,} objects, but none is a video: {why}. Names of "
            f"videos end with {' '.join(suffixes)}, unless --suffixes or --all_files says otherwise; a file named without a "
            f"wildcard is read whatever its name. Received: {template!r}"
        )
    when = " on any day" if wider else ""
    raise NoMatchError(f"this input matches nothing{when}; use a file, a directory or DIR/**.mp4. Received: {template!r}")


def _lacks_login(error: BaseException | None) -> bool:
    """Returns whether Cloud Storage's client has no valid credentials, which whoever starts the run can mend."""
    return type(error).__module__.startswith("google.auth.") or type(error).__name__ == "Unauthorized"


def batched(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """Yields items in lists of `size`; the last list may be shorter."""
    iterator = iter(items)
    while batch := list(itertools.islice(iterator, size)):
        yield batch


def _find_video(pattern: str, suffixes: Sequence[str], account: LeftOutAccount, billing_project: str | None) -> VideoRef | None:
    """Returns the first video that a pattern matches; if it matches none, returns None and accounts for the other matches."""
    for found in match_objects(pattern, suffixes, _PROBED_OBJECTS, billing_project):
        if isinstance(found, VideoRef):
            return found
    for found in match_objects(pattern, suffixes, billing_project=billing_project):
        if isinstance(found, VideoRef):
            return found
        account.add(found)
    return None
