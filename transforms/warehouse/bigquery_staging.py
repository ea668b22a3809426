"""The folder of a bucket from which BigQuery loads staged rows."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import logging
import uuid
from collections.abc import Callable
from typing import TYPE_CHECKING

from model.storage import SCHEME, split_uri, storage_client
from transforms.run_files import STAGING_FOLDER
from transforms.warehouse.base import STAGING_KEPT_SEC, WarehouseError
from transforms.warehouse.bigquery_jobs import one_line_errors

if TYPE_CHECKING:
    from google.cloud import storage

_EU_OUTSIDE = ("EUROPE-WEST2", "EUROPE-WEST6")
"""Regions in Europe that do not belong to BigQuery's multi-region EU."""

_KEPT = "kept"
"""Name of the file that a run writes into its folder to keep the others."""

_LOGGER = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class StagingBucket:
    """The folder of a bucket for the staged files of one data set.

    Attributes:
      project: Id of the project that pays for requests.
      dataset: The data set as PROJECT.DATASET.
      temp_location: Cloud Storage folder that the user gave, without a slash at its end.
    """

    project: str
    dataset: str
    temp_location: str

    def folder(self, run_id: str) -> str:
        """Returns the folder for a run's staged files."""
        return f"{self._root}/{run_id}"

    def check(self, location: str) -> None:
        """Raises WarehouseError if the bucket is missing, or is where BigQuery cannot load from.

        Args:
          location: Region of the data set.
        """
        from google.api_core.exceptions import Forbidden, NotFound

        bucket_name, _ = split_uri(self.temp_location)
        with one_line_errors(f"Cloud Storage refuses {self.temp_location}"):
            try:
                found = self._storage().get_bucket(bucket_name).location
            except NotFound as error:
                raise WarehouseError(f"the bucket of --temp_location must exist. Received: {SCHEME}{bucket_name}") from error
            except Forbidden:
                _LOGGER.warning("Cannot check that bucket %s is near %s without storage.buckets.get", bucket_name, self.dataset)
                return
        if not loads_from(location, found):
            raise WarehouseError(
                f"the bucket of --temp_location must be in the data set's region, {location}. "
                f"Received: {SCHEME}{bucket_name} in {found}"
            )

    def prepare(self) -> None:
        """Checks that files can be written, and deletes the files of killed runs; raises WarehouseError if it cannot.

        A killed run is one that has written no file for `STAGING_KEPT_SEC`.
        """
        with one_line_errors(f"files cannot be staged in {self.temp_location}"):
            self._write_probe()
            oldest = datetime.datetime.now(datetime.UTC) - datetime.timedelta(seconds=STAGING_KEPT_SEC)
            writes = self._last_writes()
            killed = {owner for owner, updated in writes.items() if updated < oldest}
            removed = self._remove(f"{self._root}/", lambda blob: self._owner(blob) in killed)
        if removed:
            _LOGGER.info("Deleted %d staged files of killed runs in %s.", removed, self._root)

    def remove(self, run_id: str) -> None:
        """Deletes a run's staged files; raises an error of Google's clients if it cannot."""
        self._remove(f"{self.folder(run_id)}/", lambda blob: True)

    def keep(self, run_id: str) -> None:
        """Writes an empty file into a run's folder; raises an error of Google's clients if it cannot."""
        bucket_name, name = split_uri(f"{self.folder(run_id)}/{_KEPT}")
        self._storage().bucket(bucket_name).blob(name).upload_from_string(b"")

    @property
    def _root(self) -> str:
        return f"{self.temp_location}/{STAGING_FOLDER}/{self.dataset}"

    def _storage(self) -> storage.Client:
        return storage_client(self.project)

    def _write_probe(self) -> None:
        from google.api_core.exceptions import NotFound

        bucket_name, name = split_uri(f"{self._root}/probe-{uuid.uuid4().hex}")
        probe = self._storage().bucket(bucket_name).blob(name)
        probe.upload_from_string(b"")
        with contextlib.suppress(NotFound):  # an earlier attempt deleted it, but its answer was lost
            probe.delete()

    def _last_writes(self) -> dict[str, datetime.datetime]:
        """Returns when something was last written, by owner."""
        bucket_name, root = split_uri(f"{self._root}/")
        writes: dict[str, datetime.datetime] = {}
        for blob in self._storage().bucket(bucket_name).list_blobs(prefix=root):
            owner = self._owner(blob)
            writes[owner] = max(blob.updated, writes.get(owner, blob.updated))
        return writes

    def _owner(self, blob: storage.Blob) -> str:
        """Returns the run in whose folder an object is, with a slash behind it, or the name of an object in no folder."""
        _, root = split_uri(f"{self._root}/")
        run, slash, _ = blob.name.removeprefix(root).partition("/")
        return f"{run}{slash}"

    def _remove(self, prefix: str, is_wanted: Callable[[storage.Blob], bool]) -> int:
        from google.api_core.exceptions import NotFound

        bucket_name, name = split_uri(prefix)
        removed = 0
        for blob in self._storage().bucket(bucket_name).list_blobs(prefix=name):
            if is_wanted(blob):
                with contextlib.suppress(NotFound):  # another run deletes it, too
                    blob.delete()
                    removed += 1
        return removed


def loads_from(dataset_location: str, bucket_location: str | None) -> bool:
    """Returns whether BigQuery can load into a data set from a bucket.

    It can within one region, from any region into the multi-region US, and from the member states' regions into EU
    (cloud.google.com/bigquery/docs/batch-loading-data).
    """
    dataset, bucket = dataset_location.upper(), (bucket_location or dataset_location).upper()
    if dataset in ("US", bucket):
        return True
    return dataset == "EU" and bucket.startswith(("EU", "EUROPE-")) and bucket not in _EU_OUTSIDE
