"""The folders beside a DuckDB file for the staged files of runs."""

from __future__ import annotations

import dataclasses
import glob
import logging
import os
import pathlib
import shutil
import time

from transforms.run_files import STAGING_SUFFIX
from transforms.warehouse.base import STAGING_KEPT_SEC

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StagingFolders:
    """The folders for the staged files of the runs that write to one DuckDB file.

    Attributes:
      path: Absolute path of the DuckDB file.
    """

    path: str

    def folder(self, run_id: str) -> str:
        """Returns the folder for a run's staged files, PATH.staging-RUN."""
        return f"{self.path}{STAGING_SUFFIX}{run_id}"

    def prepare(self) -> None:
        """Deletes the folders of killed runs, not written for `STAGING_KEPT_SEC`; logs what it cannot delete."""
        oldest_sec = time.time() - STAGING_KEPT_SEC
        for path in map(pathlib.Path, glob.glob(f"{glob.escape(self.path)}{STAGING_SUFFIX}*")):
            try:
                if path.is_symlink() or not path.is_dir():
                    continue
                if max(file.lstat().st_mtime for file in (path, *path.rglob("*"))) < oldest_sec:
                    shutil.rmtree(path)
                    _LOGGER.info("Deleted %s, the staged files of a run that was killed.", path)
            except FileNotFoundError:
                pass  # another run is deleting it, or it was another run's and that run has just ended
            except OSError as error:
                _LOGGER.warning("The staged files in %s, of a run that was killed, could not be deleted: %s", path, error)

    def keep(self, run_id: str) -> None:
        """Sets the time of a run's folder if there is one; logs if it cannot."""
        folder = self.folder(run_id)
        try:
            os.utime(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            _LOGGER.warning("The staged files in %s could not be kept: %s", folder, error)

    def remove(self, run_id: str) -> None:
        """Deletes a run's folder if there is one; logs what cannot be deleted."""
        folder = self.folder(run_id)
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            _LOGGER.warning("The staged files in %s could not be deleted: %s", folder, error)
