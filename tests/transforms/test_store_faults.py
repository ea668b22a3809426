"""A refusal or an outage of one object fails its video; one of the account, the project or the store is a machine's fault."""

import errno
import io

import pytest

from transforms import store_faults
from transforms.machine_faults import MachineFaultError, is_machine_fault
from transforms.objects import download, find_object, list_objects
from transforms.store_faults import NotDeliveredError, bucket_refusals, undelivered_objects


@pytest.fixture(autouse=True)
def nothing_read(monkeypatch):
    """This process has read no object of any bucket yet."""
    monkeypatch.setattr(store_faults, "_read_buckets", set())


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


def fail_always(cloud, *names, **fault):
    """Fails each download of objects with these names, whether of all bytes or of one."""
    fault = {"status": 503, "times": 10**6, **fault}
    cloud.storage.fail(lambda request: "alt=media" in request.path and any(name in request.path for name in names), **fault)


@pytest.mark.parametrize("fault", [{"status": 503}, {"status": 500}, {"status": 429}, {"reset": True}], ids=str)
@pytest.mark.usefixtures("hasty_retries")
def test_an_object_that_the_store_alone_does_not_deliver_is_told_from_a_store_that_is_down(cloud, fault):
    dead, good = (find_object(cloud.upload(f"day/{name}.mp4", b"12345")) for name in ("dead", "good"))
    fail_always(cloud, "dead.mp4", **fault)
    with pytest.raises(NotDeliveredError, match=r"^other objects of the folder can be read, this one not: RetryError: "):
        copy(dead)
    assert copy(good) == b"12345"
    fail_always(cloud, "good.mp4", **fault)
    for video in (dead, good):
        with pytest.raises(Exception, match=r"^Timeout of 120\.0s exceeded") as caught:
            copy(video)
        assert is_machine_fault(caught.value)


@pytest.mark.usefixtures("hasty_retries")
def test_one_readable_neighbour_among_others_shows_that_the_store_works(cloud):
    a, *_ = (find_object(cloud.upload(f"day/{name}.mp4", b"12345")) for name in "abc")
    fail_always(cloud, "a.mp4", "b.mp4")
    with pytest.raises(NotDeliveredError):
        copy(a)


@pytest.mark.usefixtures("hasty_retries")
def test_an_object_whose_description_is_not_delivered_either_is_its_own_failure(cloud):
    dead, _ = (find_object(cloud.upload(f"day/{name}.mp4", b"12345")) for name in ("dead", "good"))
    cloud.storage.fail(lambda request: "dead.mp4" in request.path, times=10**6)
    with pytest.raises(NotDeliveredError, match="503"):
        copy(dead)


@pytest.mark.usefixtures("hasty_retries")
def test_neither_other_folders_nor_empty_objects_show_that_the_store_works(cloud):
    (dead,) = list_objects(cloud.upload("day/dead.mp4", b"12345"))
    cloud.upload("day/empty.mp4", b"")
    cloud.upload("other/good.mp4", b"12345")
    fail_always(cloud, "dead.mp4")
    with pytest.raises(Exception, match=r"^Timeout of 120\.0s exceeded") as caught:
        copy(dead)
    assert is_machine_fault(caught.value)


@pytest.mark.parametrize(
    "error", [OSError(errno.ENOSPC, "full"), MemoryError(), PermissionError("not yours"), ValueError()], ids=repr
)
def test_errors_of_this_machine_and_of_the_file_are_not_looked_into(cloud_storage, error):
    cloud_storage.contents = {"gym/a.mp4": b"12345", "gym/b.mp4": b"12345"}
    with pytest.raises(type(error)) as caught, undelivered_objects("gs://gym/a.mp4"):
        raise error
    assert caught.value is error
    assert cloud_storage.requests == []


def test_a_connection_that_breaks_on_the_way_to_another_store_is_not_looked_into(cloud_storage):
    cloud_storage.contents = {"gym/b.mp4": b"12345"}
    with pytest.raises(ConnectionResetError), undelivered_objects("/videos/a.mp4"):
        raise ConnectionResetError
    assert cloud_storage.requests == []
