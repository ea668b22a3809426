"""Model files are copied to and from Cloud Storage, and URIs are split in one place."""

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
