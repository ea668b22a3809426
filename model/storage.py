"""Cloud Storage: URIs, buckets, and download and upload of model files.

Readers and writers of weights work on local files. `gs://` paths are copied through a temporary folder with Google's client,
which reads `GOOGLE_APPLICATION_CREDENTIALS` and `STORAGE_EMULATOR_HOST`.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import re
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from model.errors import UserError, one_line

if TYPE_CHECKING:
    from google.cloud.storage import Bucket, Client

SCHEME = "gs://"

FOLDER_URI = re.compile(r"gs://[a-z0-9][a-z0-9._-]+[a-z0-9](/[^/*\n\r]+)*/?")
"""URI of a bucket or of a folder in it, see Google's rules for names of buckets. BigQuery loads from no name with "//"."""

FOLDER_URI_RULE = (
    f"{SCHEME}BUCKET/FOLDER, with a bucket's name of at least 3 lower-case letters, digits, '-', '_' and '.', and no '//' or "
    "'*' after it"
)
"""What to say if `FOLDER_URI` does not match."""

PROJECT_ID = re.compile(r"(?:[a-z0-9][a-z0-9.-]*:)?[a-z][a-z0-9-]{4,28}[a-z0-9]")
"""ID of a Google Cloud project, after its domain in old ones."""

PROJECT_ID_RULE = "6 to 30 lower-case letters, digits and '-'"
"""What to say if `PROJECT_ID` does not match."""

_BLOCK_BYTES = 1 << 20

_MAX_CONNECTIONS = 128
"""Most connections that a client keeps: one for each thread of a large worker."""

_CLIENT_VARIABLES = ("GOOGLE_APPLICATION_CREDENTIALS", "GOOGLE_CLOUD_PROJECT", "STORAGE_EMULATOR_HOST")

_CLIENT_LOCK = threading.Lock()


class StorageError(UserError, ValueError):
    """Cloud Storage cannot be read or written, or a URI is not valid."""


def is_remote(path: str) -> bool:
    """Returns whether `path` is on Cloud Storage; raises StorageError for any other remote scheme."""
    if "://" in path and not path.startswith(SCHEME):
        raise StorageError(f"a model file must be a local path or a {SCHEME} URI. Received: {path!r}")
    return path.startswith(SCHEME)


@contextlib.contextmanager
def staged(prefix: str, is_wanted: Callable[[str], bool]) -> Iterator[Path]:
    """Downloads objects whose names start with a prefix into a temporary folder, which is removed on exit.

    Args:
      prefix: Prefix of the objects, such as "gs://bucket/folder/ckpt-88".
      is_wanted: Filter; called with the part of an object's name after the prefix.

    Yields:
      The local path that corresponds to `prefix`, such as "FOLDER/ckpt-88".

    Raises:
      StorageError: the bucket cannot be read, or no object passes the filter.
    """
    bucket_name, object_prefix = _split_object(prefix)
    stem = object_prefix.rsplit("/", 1)[-1]
    with tempfile.TemporaryDirectory(prefix="repcount-") as folder:
        with _one_line_errors(prefix):
            bucket = open_bucket(bucket_name)
            blobs = [b for b in bucket.list_blobs(prefix=object_prefix) if is_wanted(b.name.removeprefix(object_prefix))]
            for blob in blobs:
                blob.download_to_filename(str(Path(folder, stem + blob.name.removeprefix(object_prefix))))
        if not blobs:
            raise StorageError(f"no model file on Cloud Storage starts with this prefix. Received: {prefix!r}")
        yield Path(folder, stem)


def file_sha256(path: Path) -> str:
    """Returns the SHA-256 hash of a local file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def upload(local_path: Path, uri: str, label: Mapping[str, str]) -> None:
    """Uploads a file with `label` as the object's metadata. The service verifies the content with MD5.

    Raises:
      StorageError: the bucket cannot be written.
    """
    bucket_name, name = _split_object(uri)
    with _one_line_errors(uri):
        blob = open_bucket(bucket_name).blob(name)
        blob.metadata = dict(label)
        blob.upload_from_filename(str(local_path), checksum="md5")


def read_label(uri: str) -> dict[str, str] | None:
    """Returns the metadata that `upload` stored with an object, or None if there is no such object.

    Raises:
      StorageError: the bucket cannot be read.
    """
    bucket_name, name = _split_object(uri)
    with _one_line_errors(uri):
        blob = open_bucket(bucket_name).get_blob(name)
    return dict(blob.metadata or {}) if blob else None


def open_bucket(name: str, billing_project: str | None = None) -> Bucket:
    """Returns a bucket of Google's client, anonymous if there are no credentials. Sends no request.

    Args:
      name: Name of the bucket.
      billing_project: Project that pays for requests, as "requester pays" buckets want it. None for the bucket's own.
    """
    return storage_client().bucket(name, user_project=billing_project)


def storage_client(project: str | None = None) -> Client:
    """Returns this process's client of Cloud Storage. Threads share it, and its connections stay open.

    Args:
      project: Project of the client. None for that of the environment; then the client is anonymous without credentials.
    """
    with _CLIENT_LOCK:
        return _make_client(project, tuple(os.environ.get(name) for name in _CLIENT_VARIABLES))


def refuse_redirects() -> None:
    """Makes this process's client follow no redirect, which could lead to this machine or to the metadata server.

    A request then raises requests.TooManyRedirects. Cloud Storage sends no redirects to its client.
    """
    storage_client()._http.max_redirects = 0


@functools.cache
def _make_client(project: str | None, environment: tuple[str | None, ...]) -> Client:
    """Returns a new client. `environment` has what it reads there, so that a change leads to another client."""
    from google.auth.exceptions import DefaultCredentialsError
    from google.cloud import storage
    from requests.adapters import HTTPAdapter

    # Else the client asks for each bucket's metadata, for traces. Who may read objects may not read that.
    os.environ.setdefault("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    try:
        client = storage.Client() if project is None else storage.Client(project=project)
    except DefaultCredentialsError:
        if project is not None:
            raise
        # Public buckets, such as that of the published checkpoints, need no credentials.
        client = storage.Client.create_anonymous_client()
    if not client._http.is_mtls:
        client._http.mount("https://", HTTPAdapter(pool_maxsize=_MAX_CONNECTIONS))
    return client


def _forget_clients() -> None:
    """Makes a forked process open connections of its own."""
    _make_client.cache_clear()
    _CLIENT_LOCK.release()


os.register_at_fork(before=_CLIENT_LOCK.acquire, after_in_parent=_CLIENT_LOCK.release, after_in_child=_forget_clients)


def split_uri(uri: str) -> tuple[str, str]:
    """Returns the bucket and the object name of a `gs://` URI, of an object, a prefix or a pattern; the name may be "".

    Raises:
      StorageError: the URI is not on Cloud Storage or names no bucket.
    """
    bucket, _, name = uri.removeprefix(SCHEME).partition("/")
    if not uri.startswith(SCHEME) or not bucket:
        raise StorageError(f"a Cloud Storage URI has the form gs://bucket/name. Received: {uri!r}")
    return bucket, name


def _split_object(uri: str) -> tuple[str, str]:
    """Returns bucket and object name; raises StorageError also if the name is missing."""
    bucket, name = split_uri(uri)
    if not name:
        raise StorageError(f"a Cloud Storage object has the form gs://bucket/name. Received: {uri!r}")
    return bucket, name


@contextlib.contextmanager
def _one_line_errors(uri: str) -> Iterator[None]:
    """Turns errors of the client into StorageError with a one-line message."""
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError

    try:
        yield
    except (GoogleAPIError, GoogleAuthError, OSError) as error:
        raise StorageError(f"Cloud Storage refused: {one_line(error)}. Received: {uri!r}") from error
