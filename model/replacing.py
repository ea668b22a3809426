"""Files and folders that are written completely or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
"""Error numbers for a full disk, an exhausted quota and a file-size limit."""


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a path to create a file or folder at, which replaces `path` after the body. If the body fails, `path` stays.

    Missing folders above are created. A folder replaces only an empty one, and a link is replaced rather than followed.

    Raises:
      OSError: The disk is full or refuses. It names `path` if the disk is full.
    """
    path = path.absolute()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".repcount-{os.getpid()}.{path.name}")  # no run takes it for a video
    _remove(partial)
    try:
        yield partial
        os.replace(partial, path)
    except OSError as error:
        if error.errno in DISK_FULL and not error.filename:
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
    finally:
        _remove(partial)


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
