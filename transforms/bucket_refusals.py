"""Tells whether Cloud Storage refuses one object, or the account or project that asks. Does not import Beam.

Status 403 stands for both. If only one object is refused, that is a failure of its video. Else it is a machine's fault: every
other video would fail, too, and later runs would skip them all. An account without the permission for a bucket may still have
it for a folder or for some objects, so others are tried before it is blamed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import TYPE_CHECKING

from model.storage import SCHEME, open_bucket, split_uri
from transforms.failure_codes import describe_error
from transforms.machine_faults import MachineFaultError, causes

if TYPE_CHECKING:
    from google.api_core.exceptions import Forbidden
    from google.cloud.storage import Blob

_READ_PERMISSION = "storage.objects.get"

_ANSWER_SEC = 10.0
"""Seconds that Cloud Storage may take to answer whether the account may read something."""

_NUM_NEIGHBOURS = 5
"""Objects of the same folder that are tried before the account is blamed."""

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
        folder = name[: name.rfind("/") + 1]
        beside = bucket.list_blobs(prefix=folder, max_results=_NUM_NEIGHBOURS, timeout=_ANSWER_SEC, retry=None)
        return not any(blob.name != name and _may_read(blob) for blob in beside)
    except Exception:  # whatever it is, it says nothing about the permission
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
