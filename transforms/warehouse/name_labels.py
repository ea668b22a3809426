"""Labels of a video from its name, such as the user and the exercise, by a regular expression of the user's."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.compute as pc

from model.storage import split_uri
from transforms.local_files import WILDCARD
from transforms.objects import absolute, is_local


@dataclasses.dataclass(frozen=True)
class NameLabels:
    """How a video gets its labels.

    RE2 matches, whose time grows with the length of a name and not beyond, so no expression makes a worker hang.

    Attributes:
      regex: Expression searched for in a video's name, in RE2's syntax. Each named group is a label. "" for no labels.
      folders: Folders of this machine. The name of a local video is its path below the longest of them that holds it.
    """

    regex: str = ""
    folders: tuple[str, ...] = ()

    def of(self, uri: str) -> list[dict[str, str]]:
        """Returns the labels of a video as {"name": …, "value": …}, in the order of the groups.

        A name that does not match has no labels, and a group that matches nothing gives none.

        Args:
          uri: Local path or `gs://` URI of the video, as valid UTF-8.
        """
        if not self.regex:
            return []
        (found,) = pc.extract_regex(pa.array([self._name(uri)]), pattern=self.regex).to_pylist()
        return [{"name": name, "value": value} for name, value in (found or {}).items() if value]

    def _name(self, uri: str) -> str:
        """Returns the name of an object, or the path of a file below its folder."""
        if not is_local(uri):
            return split_uri(uri)[1]
        folder = max((folder for folder in self.folders if uri.startswith(f"{folder.rstrip('/')}/")), key=len, default="")
        return uri[len(folder) :].lstrip("/")


def check_regex(regex: str) -> str:
    """Returns `regex`; raises ValueError with the reason unless it has named groups, and no others."""
    try:
        groups = pc.extract_regex(pa.array([], pa.string()), pattern=regex).type
    except pa.ArrowInvalid as error:
        reason = str(error).splitlines()[0]
        hint = "; write (?:…) for a group without a name" if "unnamed" in reason else ""
        raise ValueError(f"must be a regular expression in RE2's syntax: {reason}{hint}. Received: {regex!r}") from error
    names = [field.name for field in groups]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"must have named groups with different names, such as (?P<user>[^/]+)/. Received: {regex!r}")
    return regex


def local_folders(patterns: Iterable[str]) -> tuple[str, ...]:
    """Returns the folders for `NameLabels` of a run's inputs: for each local one, the folder before its first wildcard."""
    paths = [absolute(pattern) for pattern in patterns if is_local(pattern)]
    # A path without a wildcard may be a folder itself.
    return tuple(sorted({*paths, *(os.path.dirname(WILDCARD.split(path)[0]) for path in paths)}))
