"""A refusal of one object fails its video; one of the account or the project is a machine's fault."""

import io

import pytest

from transforms import bucket_refusals as bucket_refusals_module
from transforms.bucket_refusals import bucket_refusals
from transforms.machine_faults import MachineFaultError, is_machine_fault
from transforms.objects import download, list_objects


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch):
    """This process has read no object of any bucket yet."""
    monkeypatch.setattr(bucket_refusals_module, "_read_buckets", set())


@pytest.fixture
def videos(cloud_storage):
    cloud_storage.contents = {"gym/a.mp4": b"12345", "gym/b.mp4": b"12345"}
    return list(list_objects("gs://gym/**"))


def copy(video):
    file = io.BytesIO()
    download(video, file, max_bytes=5)
    return file.read()


def test_an_object_that_alone_is_refused_is_its_own_failure(cloud_storage, videos):
    cloud_storage.refusals["gym/a.mp4"] = "forbidden"
    with pytest.raises(OSError, match="as the test wishes") as caught:
        copy(videos[0])
    assert not is_machine_fault(caught.value)
    assert copy(videos[1]) == b"12345"


def test_an_account_that_may_read_no_object_is_a_machines_fault(cloud_storage, videos):
    cloud_storage.refusals |= {"gym/a.mp4": "forbidden", "gym/b.mp4": "forbidden"}
    cloud_storage.permissions = ["storage.objects.list"]
    says = r"may not read objects in gs://gym; it needs storage\.objects\.get, as in the role roles/storage\.objectViewer"
    with pytest.raises(MachineFaultError, match=says):
        copy(videos[0])


def test_an_account_that_may_read_some_objects_of_a_bucket_is_not_blamed(cloud_storage, videos):
    cloud_storage.refusals["gym/a.mp4"] = "forbidden"
    cloud_storage.permissions = ["storage.objects.list"]
    with pytest.raises(OSError, match="as the test wishes"):  # b.mp4 can be read
        copy(videos[0])
    assert copy(videos[1]) == b"12345"
    cloud_storage.refusals["gym/b.mp4"] = "forbidden"
    with pytest.raises(OSError, match="as the test wishes"):  # b.mp4 was read
        copy(videos[0])


@pytest.mark.parametrize("reason", ["rateLimitExceeded", "quotaExceeded", "accountDisabled", "userProjectAccessDenied"])
def test_a_reason_that_concerns_no_single_object_is_a_machines_fault(cloud_storage, videos, reason):
    cloud_storage.refusals["gym/a.mp4"] = reason
    with pytest.raises(MachineFaultError, match="refuses the account or the project: "):
        copy(videos[0])


def test_the_reason_of_a_refused_download_is_found_in_its_text(cloud):
    (video,) = list_objects(cloud.upload("a.mp4", b"12345"))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=403, reason="rateLimitExceeded")
    with pytest.raises(MachineFaultError, match="refuses the account or the project: "):
        copy(video)


def test_a_refusal_stays_as_it_is_where_nobody_says_what_the_account_may_do(cloud_storage, videos):
    cloud_storage.refusals["gym/a.mp4"] = "forbidden"
    error = PermissionError("as it is")
    with pytest.raises(PermissionError) as caught, bucket_refusals("gs://gym/a.mp4"):
        raise error
    assert caught.value is error
    cloud_storage.close()
    with pytest.raises(PermissionError) as caught, bucket_refusals("gs://gym/a.mp4"):
        raise error from _forbidden()
    assert caught.value is error


def test_errors_of_local_files_are_not_looked_into():
    with pytest.raises(PermissionError, match="not yours"), bucket_refusals("/videos/a.mp4"):
        raise PermissionError("not yours") from _forbidden()


def _forbidden():
    from google.api_core.exceptions import Forbidden

    return Forbidden("no")
