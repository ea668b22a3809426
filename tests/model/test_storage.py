"""Model files are copied to and from Cloud Storage, and URIs are split in one place."""

import os
import threading

import pytest

from model import storage


def test_only_gs_is_remote():
    assert storage.is_remote("gs://bucket/a")
    assert not storage.is_remote("/tmp/a")
    with pytest.raises(storage.StorageError, match="Received: 's3://bucket/a'"):
        storage.is_remote("s3://bucket/a")


def test_an_uploaded_file_is_downloaded_again(cloud_storage, tmp_path):
    content = b"\x00\r\n--\r\n\xff" * 100
    local = tmp_path / "a.index"
    local.write_bytes(content)
    storage.upload(local, "gs://bucket/folder/a.index", {"made_from": "b"})

    with storage.staged("gs://bucket/folder/a", lambda rest: rest == ".index") as staged:
        assert staged.name == "a"
        assert staged.with_name("a.index").read_bytes() == content
    assert not staged.parent.exists()
    assert storage.read_label("gs://bucket/folder/a.index") == {"made_from": "b"}


def test_unwanted_objects_are_not_downloaded(cloud_storage):
    cloud_storage.contents |= {"bucket/ckpt-7.index": b"x", "bucket/ckpt-70.index": b"y", "bucket/ckpt-7.tmp": b"z"}
    with storage.staged("gs://bucket/ckpt-7", lambda rest: rest == ".index") as staged:
        assert [path.name for path in staged.parent.iterdir()] == ["ckpt-7.index"]


def test_a_prefix_without_a_wanted_object_is_an_error(cloud_storage):
    with (
        pytest.raises(storage.StorageError, match="Received: 'gs://bucket/nothing'"),
        storage.staged("gs://bucket/nothing", lambda rest: True),
    ):
        pass


def test_an_absent_object_has_no_label(cloud_storage):
    assert storage.read_label("gs://bucket/absent") is None


def test_a_bucket_is_not_a_file(cloud_storage):
    with pytest.raises(storage.StorageError, match=r"gs://bucket/name\. Received: 'gs://bucket'"):
        storage.read_label("gs://bucket")


@pytest.fixture
def clients(cloud_storage, monkeypatch):
    """The clients that are created from now on."""
    from google.cloud.storage import Client

    created = []
    original = Client.__init__

    def remember(self, *args, **kwargs):
        created.append(self)
        original(self, *args, **kwargs)

    monkeypatch.setattr(Client, "__init__", remember)
    # A server of an earlier test may have had the same port. Its client would serve here, too.
    storage._make_client.cache_clear()
    return created


def test_a_process_has_one_client_for_all_its_threads(clients, cloud_storage):
    cloud_storage.contents["gym/a.mp4"] = b"12345"

    def read():
        storage.open_bucket("gym").get_blob("a.mp4")
        storage.read_label("gs://gym/a.mp4")

    threads = [threading.Thread(target=read) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(clients) == 1
    assert len(cloud_storage.requests) == 16


def test_each_project_and_each_server_has_a_client_of_its_own(clients, monkeypatch):
    assert storage.storage_client("a") is storage.storage_client("a")
    assert storage.storage_client("b") is not storage.storage_client("a")
    first = storage.storage_client()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    assert storage.storage_client() is not first
    assert len(clients) == 4


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_process_makes_a_client_of_its_own(clients):
    storage.storage_client()
    child = os.fork()
    if child == 0:
        storage.storage_client()
        os._exit(len(clients))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 2
    storage.storage_client()
    assert len(clients) == 1


def test_metadata_of_a_bucket_is_never_asked_for(cloud_storage):
    cloud_storage.contents["gym/a.mp4"] = b"12345"
    bucket = storage.open_bucket("gym")
    assert bucket.get_blob("a.mp4").download_as_bytes() == b"12345"
    assert [blob.name for blob in bucket.list_blobs()] == ["a.mp4"]
    assert bucket.get_blob("absent") is None
    assert cloud_storage.requests == ["object", "content", "list", "object"]


def test_the_billing_project_pays(cloud_storage):
    cloud_storage.contents["gym/a.mp4"] = b"12345"
    cloud_storage.requester_pays = True
    bucket = storage.open_bucket("gym", "payer")
    assert bucket.get_blob("a.mp4").download_as_bytes() == b"12345"
    assert [blob.name for blob in bucket.list_blobs()] == ["a.mp4"]


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("gs://gym/day/a b.mp4", ("gym", "day/a b.mp4")),
        ("gs://gym/day/", ("gym", "day/")),
        ("gs://gym//a", ("gym", "/a")),
        ("gs://gym/**.mp4", ("gym", "**.mp4")),
        ("gs://gym/", ("gym", "")),
        ("gs://gym", ("gym", "")),
    ],
)
def test_a_uri_is_split_into_bucket_and_name(uri, expected):
    assert storage.split_uri(uri) == expected


@pytest.mark.parametrize("uri", ["", "gym/a.mp4", "gs://", "gs:///a.mp4", "s3://gym/a.mp4"])
def test_a_uri_without_a_bucket_on_cloud_storage_is_refused(uri):
    with pytest.raises(storage.StorageError, match=r"gs://bucket/name\. Received: "):
        storage.split_uri(uri)
