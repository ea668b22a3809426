"""Which videos a request may name: those in the folders and buckets that the server was started with, and no others."""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Sequence

from model.storage import SCHEME, refuse_redirects
from pipeline.command_line import UsageError
from pipeline.serve.errors import ForbiddenPlaceError, InvalidRequestError, NotFoundError
from transforms.local_files import find_file
from transforms.machine_faults import is_machine_fault, machine_fault
from transforms.objects import find_object, is_local
from transforms.records import VideoRef

MAX_NAME_CHARS = 4096
"""Longest name that a request may have."""

_ANY_SCHEME = re.compile(r"\s*[a-zA-Z][-a-zA-Z0-9+.]*:/")
"""Start of a URI. One slash is enough: `file:/etc/passwd` is a URI, too."""


@dataclasses.dataclass(frozen=True)
class AllowedPlaces:
    """The places whose videos may be read.

    Attributes:
      places: Absolute folders, and prefixes such as "gs://bucket/folder/", each with a slash at its end.
      base: The place that relative names start from; None if all names must be whole.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
    """

    places: tuple[str, ...]
    base: str | None = None
    billing_project: str | None = None

    @classmethod
    def parse(cls, allowed: Sequence[str], base: str | None, billing_project: str | None = None) -> AllowedPlaces:
        """Returns the places that the options name; raises UsageError if one is no folder and no prefix.

        Args:
          allowed: Values of `--allow`.
          base: Value of `--base`, which is allowed, too; None if there is none.
          billing_project: Value of `--billing_project`.
        """
        start = None if base is None else _parse_place("--base", base)
        places = [_parse_place("--allow", place) for place in allowed]
        return cls(tuple(dict.fromkeys([*places, *([start] if start else [])])), start, billing_project)

    def prepare(self) -> None:
        """Makes the client of Cloud Storage, if it is needed, and has it follow no redirect."""
        if not all(map(is_local, self.places)):
            refuse_redirects()

    def find(self, name: str) -> VideoRef:
        """Returns the current version of the video that a request names. Asks the disk or the store.

        Args:
          name: Name below the base, absolute path, or `gs://` URI.

        Raises:
          InvalidRequestError: The name can be no name.
          ForbiddenPlaceError: It is outside the allowed places, or the server itself may not read it.
          NotFoundError: There is no such file.
          MachineFaultError: The disk or the store has failed.
        """
        uri = self.resolve(name)
        try:
            found = find_file(uri) if is_local(uri) else find_object(uri, self.billing_project)
        except OSError as error:
            if is_machine_fault(error):
                raise machine_fault("looking for a video", error) from error
            # What the store says may name the account of the server.
            raise ForbiddenPlaceError("the server may not read this video") from error
        if found is None:
            raise NotFoundError("there is no such video")
        return found

    def resolve(self, name: str) -> str:
        """Returns the absolute path or URI that a name stands for.

        Raises:
          InvalidRequestError: The name can be no name.
          ForbiddenPlaceError: It is outside the allowed places.
        """
        _check_name(name)
        if _ANY_SCHEME.match(name):
            if not name.startswith(SCHEME):
                raise ForbiddenPlaceError(f"a video must be a name, a path or a {SCHEME} URI; no other scheme is read")
            return self._check_uri(name)
        if name.startswith("/"):
            return self._check_path(name)
        if self.base is None:
            raise InvalidRequestError(f"the name must be a whole path or {SCHEME} URI, since the server has no --base")
        return self._check_path(self.base + name) if is_local(self.base) else self._check_uri(self.base + name)

    def _check_uri(self, uri: str) -> str:
        _check_steps(uri.removeprefix(SCHEME))
        if not any(uri.startswith(place) for place in self.places):
            raise ForbiddenPlaceError("this bucket or folder may not be read")
        if uri in self.places:
            raise InvalidRequestError("the name must be that of a video, not of a folder")
        return uri

    def _check_path(self, path: str) -> str:
        _check_steps(path)
        path = os.path.normpath(path)
        # Links are followed: where the file is counts, and not what it is called.
        target = os.path.realpath(path)
        folders = [place for place in self.places if is_local(place)]
        is_named = any(_is_below(path, folder) for folder in folders)
        if not (is_named and any(_is_below(target, os.path.realpath(folder)) for folder in folders)):
            raise ForbiddenPlaceError("this folder may not be read")
        return path


def _parse_place(option: str, text: str) -> str:
    if not is_local(text):
        if not re.fullmatch(r"gs://[^/*?\[]+(/[^*?\[]*)?", text):
            raise UsageError(f"{option} must be a folder or {SCHEME}BUCKET/FOLDER, without wildcards. Received: {text!r}")
        return text.rstrip("/") + "/"
    if not os.path.isdir(text):
        raise UsageError(f"{option} must be an existing folder, or {SCHEME}BUCKET/FOLDER. Received: {text!r}")
    return os.path.join(os.path.abspath(text), "")


def _is_below(path: str, folder: str) -> bool:
    return path.startswith(os.path.join(folder, ""))


def _check_name(name: str) -> None:
    if not name or len(name) > MAX_NAME_CHARS or "\0" in name:
        raise InvalidRequestError(f"the name must have 1 to {MAX_NAME_CHARS:,} characters, none of them NUL")
    try:
        os.fsencode(name)
    except UnicodeEncodeError as error:
        raise InvalidRequestError("the name must be text without lone surrogates") from error


def _check_steps(path: str) -> None:
    if any(step in (".", "..") for step in path.split("/")):
        raise ForbiddenPlaceError("the name must not have the steps . and ..")
