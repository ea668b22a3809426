"""Tells whether Cloud Storage fails for one object only, or for all of them. Does not import Beam.

What concerns one object is a failure of its video. All else is a machine's fault: every other video would fail, too.

- Status 403 may refuse one object, or the account or project that asks. An account without the permission for a bucket may
  still have it for a folder or for some objects, so others are tried before it is blamed.
- Status 429 or 5xx, or a broken connection, may be a store that is down, or one object that the store cannot deliver. If other
  objects can be read, the store works. Else that one object would end every run.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from model.storage import SCHEME, open_bucket, split_uri
from transforms.failure_codes import describe_error
from transforms.machine_faults import MachineFaultError, causes, is_service_fault

if TYPE_CHECKING:
    from google.api_core.exceptions import Forbidden
    from google.cloud.storage import Blob, Bucket

_READ_PERMISSION = "storage.objects.get"

_ANSWER_SEC = 10.0
"""Seconds that Cloud Storage may take to answer whether something can be read."""

_NUM_NEIGHBOURS = 5
"""First objects of the same folder, of which the others are tried before the account or the store is blamed."""

_read_buckets: set[str] = set()
"""Buckets of which this process has read an object."""

_REASONS = (
    "accessNotConfigured",
    "accountDisabled",
    "insufficientPermissions",
    "quotaExceeded",
    "rateLimitExceeded",
    "sslRequired",
    "userProjectAccessDenied",
    "userProjectAccountProblem",
    "userRateLimitExceeded",
)
"""Reasons of 403 that concern no single object, from "HTTP status and error codes for JSON" in Cloud Storage's reference."""


class NotDeliveredError(OSError):
    """Cloud Storage does not deliver this object, while it delivers others."""


@contextlib.contextmanager
def undelivered_objects(uri: str, billing_project: str | None = None) -> Iterator[None]:
    """Raises NotDeliveredError where the body, which reads an object, meets a fault of the store that others do not meet now.

    Args:
      uri: The object; for others than `gs://` nothing changes.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
    """
    try:
        yield
    except Exception as error:
        if not uri.startswith(SCHEME) or not is_service_fault(error) or not _can_read_another(uri, billing_project):
            raise
        raise NotDeliveredError(f"other objects of the folder can be read, this one not: {describe_error(error)}") from error


@contextlib.contextmanager
def bucket_refusals(uri: str, billing_project: str | None = None) -> Iterator[None]:
    """Raises MachineFaultError where the body, which reads an object, is refused what it would be refused for all objects.

    Args:
      uri: The object; for others than `gs://` nothing changes.
      billing_project: Project that pays for requests to "requester pays" buckets. None for the bucket's own.
    """
    if not uri.startswith(SCHEME):
        yield
        return
    bucket_name, name = split_uri(uri)
    try:
        yield
        _read_buckets.add(bucket_name)
    except Exception as error:
        refusal = _find_refusal(error)
        if refusal is None:
            raise
        if _names_reason(refusal):
            raise MachineFaultError(f"Cloud Storage refuses the account or the project: {describe_error(refusal)}") from error
        if bucket_name not in _read_buckets and _may_read_nothing(bucket_name, name, billing_project):
            raise MachineFaultError(
                f"the account may not read objects in {SCHEME}{bucket_name}; it needs {_READ_PERMISSION}, as in the role "
                f"roles/storage.objectViewer: {describe_error(refusal)}"
            ) from error
        raise


def _find_refusal(error: Exception) -> Forbidden | None:
    """Returns the 403 among an error and its causes; None if there is none."""
    from google.api_core.exceptions import Forbidden

    return next((cause for cause in causes(error) if isinstance(cause, Forbidden)), None)


def _names_reason(refusal: Forbidden) -> bool:
    """Returns whether a 403 states a reason that concerns no single object. That of a download has it in its text only."""
    text = f"{refusal} {refusal.errors}".lower()
    return any(f'"{reason.lower()}"' in text or f"'{reason.lower()}'" in text for reason in _REASONS)


def _may_read_nothing(bucket_name: str, name: str, billing_project: str | None) -> bool:
    """Returns whether the account may read neither a bucket nor objects beside one; False if that cannot be found out."""
    bucket = open_bucket(bucket_name, billing_project)
    try:
        if bucket.test_iam_permissions([_READ_PERMISSION], timeout=_ANSWER_SEC, retry=None):
            return False
        return not any(map(_may_read, _list_neighbours(bucket, name)))
    except Exception:  # whatever it is, it says nothing about the permission
        return False


def _can_read_another(uri: str, billing_project: str | None) -> bool:
    """Returns whether an object beside this one can be read now. Empty ones do not tell, since nothing of them is delivered."""
    bucket_name, name = split_uri(uri)
    with contextlib.suppress(Exception):  # the store does not even list them
        return any(blob.size and _can_read(blob) for blob in _list_neighbours(open_bucket(bucket_name, billing_project), name))
    return False


def _list_neighbours(bucket: Bucket, name: str) -> Iterator[Blob]:
    """Yields some objects of the folder that has the object `name`, without that one."""
    folder = name[: name.rfind("/") + 1]
    listed = bucket.list_blobs(prefix=folder, max_results=_NUM_NEIGHBOURS, timeout=_ANSWER_SEC, retry=None)
    return (blob for blob in listed if blob.name != name)


def _can_read(blob: Blob) -> bool:
    """Returns whether a byte of an object can be read now."""
    try:
        return _may_read(blob)
    except Exception:  # whatever it is, the next one may be read
        return False


def _may_read(blob: Blob) -> bool:
    """Returns whether the account may read an object."""
    from google.api_core.exceptions import Forbidden, RequestRangeNotSatisfiable

    with contextlib.suppress(RequestRangeNotSatisfiable):  # it is empty
        try:
            blob.download_as_bytes(start=0, end=0, timeout=_ANSWER_SEC, retry=None)
        except Forbidden:
            return False
    return True
