"""Files of results, one per video: names derived from the video's, which may be hostile, and checks before work begins."""

from __future__ import annotations

import hashlib
import itertools
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from model.replacing import replacing
from pipeline.command_line import UsageError
from transforms.matching import VIDEO_SUFFIXES
from transforms.objects import is_local

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse

_MAX_NAME_BYTES = 120
_UNWANTED = frozenset('/\\:*?"<>|')
"""Characters that file systems or shells of some systems do not take."""


def check_folder(text: str) -> None:
    """Raises UsageError unless `--output_dir` is a writable local folder, or can become one; creates nothing."""
    if not is_local(text):
        raise UsageError(f"--output_dir must be a folder of this machine. Received: {text!r}")
    path = Path(text).absolute()
    existing = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not existing.is_dir() or not os.access(existing, os.W_OK | os.X_OK):
        raise UsageError(f"--output_dir must be a writable folder. Received: {text!r}")


def check_no_input(paths: Iterable[Path], uris: Sequence[str]) -> None:
    """Raises UsageError if a file to write is one of the videos."""
    videos = {os.path.realpath(uri) for uri in uris if is_local(uri)}
    for path in paths:
        if os.path.realpath(path) in videos:
            raise UsageError(f"a video would be overwritten; choose another folder or name. Received: {str(path)!r}")


def check_file(option: str, path: Path) -> None:
    """Raises UsageError unless an option's file may be written."""
    if path.exists() and not path.is_file():  # a device or a pipe would be replaced by a file
        raise UsageError(f"{option} must be a file, not a folder, a device or a pipe. Received: {str(path)!r}")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise UsageError(f"{option} must be a file in an existing, writable folder. Received: {str(path)!r}")


def check_no_tables_or_video(option: str, path: Path, warehouse: Warehouse) -> None:
    """Raises UsageError if an option's file is the one of the tables, or has the name of a video, which would be lost."""
    if path.suffix.lower() in VIDEO_SUFFIXES:
        raise UsageError(f"{option} must not have the name of a video. Received: {str(path)!r}")
    if warehouse.is_local and path.resolve() == Path(warehouse.name).resolve():
        raise UsageError(f"{option} must be another file than the tables. Received: {str(path)!r}")


def derive_names(uris: Sequence[str]) -> dict[str, str]:
    """Returns a file name without a suffix for each video, by URI. No two are equal, in upper or lower case.

    The name is the video's without its suffix. Videos that would share it keep their suffix or, if that does not help, begin
    with the names of their folders: `monday-squats`. Characters that a file system may refuse become `_`.

    Args:
      uris: Different paths or `gs://` URIs.
    """
    candidates = {uri: _candidates(uri) for uri in uris}
    names = {uri: next(candidates[uri]) for uri in uris}
    while True:
        uses = Counter(map(str.casefold, names.values()))
        shared = [uri for uri, name in names.items() if uses[name.casefold()] > 1]
        if not shared:
            return names
        for uri in shared:
            names[uri] = next(candidates[uri])


def _candidates(uri: str) -> Iterator[str]:
    """Yields names for a video, the shortest one first; they never end."""
    *folders, name = uri.rstrip("/").split("/")
    stem = os.path.splitext(name)[0]
    folders = [folder for folder in folders if folder not in ("", "gs:")]
    for depth in range(len(folders) + 1):
        within = folders[len(folders) - depth :]
        yield _safe("-".join([*within, stem]))
        yield _safe("-".join([*within, name]))
    digest = hashlib.sha256(uri.encode("utf-8", "surrogatepass")).hexdigest()
    yield f"{_safe(stem)}-{digest[:8]}"
    yield from (f"{_safe(stem)}-{digest}-{number}" for number in itertools.count(1))


def _safe(name: str) -> str:
    """Returns a name that every file system takes: not hidden, not empty, and at most 120 bytes long."""
    name = unicodedata.normalize("NFC", name)
    name = "".join(character if character.isprintable() and character not in _UNWANTED else "_" for character in name)
    name = name.strip(" .") or "video"
    return name.encode("utf-8")[:_MAX_NAME_BYTES].decode("utf-8", "ignore").strip(" .")


def write_text(path: Path, text: str) -> None:
    """Writes a text as UTF-8, completely or not at all; raises OSError if that fails."""
    with replacing(path) as partial, partial.open("x", encoding="utf-8", errors="backslashreplace", newline="") as file:
        file.write(text)
