"""Objects are listed, found and copied in the version that was listed, whatever their names."""

import collections
import datetime
import errno
import gzip
import io
import os
import time

import pytest

from tests.support.in_memory_fs import InMemoryFileSystem
from tests.support.samples import HOSTILE_NAMES
from transforms import objects
from transforms.left_out import LeftOut, Reason
from transforms.objects import (
    ObjectGoneError,
    ObjectTooLargeError,
    check_listed,
    check_readable,
    copy_ends,
    download,
    find_object,
    list_objects,
    read_range,
    scan_objects,
)
from transforms.records import VideoRef


def names(videos, root):
    return sorted(os.path.relpath(video.uri, root) for video in videos)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["B.MOV", "a.mp4", "deep/c.webm", "deep/er/d.gif", "deep/er/e.json", "notes.txt"]),
        ("", ["B.MOV", "a.mp4", "deep/c.webm", "deep/er/d.gif", "deep/er/e.json", "notes.txt"]),
        ("deep", ["deep/c.webm", "deep/er/d.gif", "deep/er/e.json"]),
        ("deep/", ["deep/c.webm", "deep/er/d.gif", "deep/er/e.json"]),
        ("*", ["B.MOV", "a.mp4", "notes.txt"]),
        ("*/*", ["deep/c.webm"]),
        ("**.gif", ["deep/er/d.gif"]),
        ("**/*.mp4", []),
        ("[ab].mp4", ["a.mp4"]),
        ("?.mp4", ["a.mp4"]),
        ("a.mp4", ["a.mp4"]),
        ("missing.mp4", []),
        ("missing/**", []),
    ],
)
def test_a_pattern_matches_the_objects_below_it(videos_dir, pattern, expected):
    assert names(list_objects(os.path.join(videos_dir, pattern)), videos_dir) == expected


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_is_listed_unchanged(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"1234")
    for pattern in (f"{tmp_path}/**", str(tmp_path), str(path)):
        (video,) = list_objects(pattern)
        assert video.uri == str(path)
        assert video.size_bytes == 4


@pytest.mark.parametrize("name", ["set[1]", "every*", "who?", "back\\slash"])
def test_a_directory_with_wildcards_in_its_name_is_listed(tmp_path, name):
    for directory in (name, "set1", "everything"):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "a.mp4").touch()
    assert names(list_objects(str(tmp_path / name)), tmp_path) == [f"{name}/a.mp4"]


def test_a_relative_pattern_gives_absolute_uris(videos_dir, monkeypatch):
    monkeypatch.chdir(videos_dir)
    expected = list(list_objects(f"{videos_dir}/*.mp4"))
    assert list(list_objects("*.mp4")) == expected
    assert list(list_objects("deep/../a.mp4")) == expected
    assert [video.uri for video in expected] == [f"{videos_dir}/a.mp4"]


def test_the_generation_of_a_local_file_is_its_modification_time_in_nanoseconds(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    (video,) = list_objects(str(path))
    assert video.generation == 1_700_000_000_123_456_789
    assert video.updated == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.UTC)


@pytest.mark.parametrize("modified_sec", [-(10**9), 4 * 10**11])
def test_a_modification_time_outside_the_calendar_is_accepted(tmp_path, modified_sec):
    path = tmp_path / "a.mp4"
    path.touch()
    os.utime(path, times=(0, modified_sec))
    assert [video.updated.tzinfo for video in list_objects(str(path))] == [datetime.UTC]


def test_only_regular_files_are_objects(tmp_path):
    (tmp_path / "directory.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nothing")
    assert list(list_objects(f"{tmp_path}/**")) == []
    assert list(list_objects(f"{tmp_path}/pipe.mp4")) == []
    assert find_object(str(tmp_path)) is None


@pytest.fixture
def memory_files(monkeypatch):
    monkeypatch.setattr(
        InMemoryFileSystem,
        "files",
        {
            "memory://gym/a.mp4": (b"12345", 1_700_000_000.123456),
            "memory://gym/day/": (b"", 1.0),
            "memory://gym/day/b.mp4": (b"", 2.0),
            "memory://gym/day/clip[1].mp4": (b"", 3.0),
            "memory://gym/day/notes": (b"", 4.0),
        },
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("memory://gym/**", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("memory://gym", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("memory://gym/", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("memory://gym/day", ["day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("memory://gym/day/", ["day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("memory://gym/**/*.mp4", ["day/b.mp4", "day/clip[1].mp4"]),
        ("memory://gym/*.mp4", ["a.mp4"]),
        ("memory://gym/a.mp4", ["a.mp4"]),
        ("memory://gym/day/notes", ["day/notes"]),
        ("memory://gym/da", []),
    ],
)
@pytest.mark.usefixtures("memory_files")
def test_a_remote_pattern_matches_the_objects_below_it(pattern, expected):
    assert [video.uri.removeprefix("memory://gym/") for video in list_objects(pattern)] == expected


@pytest.mark.usefixtures("memory_files")
def test_a_remote_generation_is_the_update_time_in_microseconds():
    (video,) = list_objects("memory://gym/a.mp4")
    updated = datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.UTC)
    assert video == VideoRef("memory://gym/a.mp4", 1_700_000_000_123_456, 5, updated)


@pytest.mark.usefixtures("memory_files")
def test_a_remote_object_is_found_by_a_name_with_wildcards():
    assert find_object("memory://gym/day/clip[1].mp4") is not None
    assert find_object("memory://gym/gone.mp4") is None


@pytest.fixture
def bucket(cloud_storage):
    names = ["a.mp4", "day/", "day/b.mp4", "day/clip[1].mp4", "day/notes", "days.mp4", "семь 七.mp4", "x.txt"]
    cloud_storage.contents = {f"gym/{name}": b"" if name.endswith("/") else b"12345" for name in names}
    cloud_storage.generations["gym/a.mp4"] = 1_752_595_200_123_456
    cloud_storage.created["gym/a.mp4"] = "2025-07-15T16:00:00.123Z"
    return cloud_storage


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gs://gym/**", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes", "days.mp4", "x.txt", "семь 七.mp4"]),
        ("gs://gym", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes", "days.mp4", "x.txt", "семь 七.mp4"]),
        ("gs://gym/", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "day/notes", "days.mp4", "x.txt", "семь 七.mp4"]),
        ("gs://gym/day", ["day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("gs://gym/day/", ["day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("gs://gym/d*/", ["day/b.mp4", "day/clip[1].mp4", "day/notes"]),
        ("gs://gym/**/*.mp4", ["day/b.mp4", "day/clip[1].mp4"]),
        ("gs://gym/*.mp4", ["a.mp4", "days.mp4", "семь 七.mp4"]),
        ("gs://gym/day?.[lm]p4", ["days.mp4"]),
        ("gs://gym/a.mp4", ["a.mp4"]),
        ("gs://gym/семь 七.mp4", ["семь 七.mp4"]),
        ("gs://gym/day/notes", ["day/notes"]),
        ("gs://gym/da", []),
        ("gs://other/**", []),
    ],
)
@pytest.mark.parametrize("page_objects", [2, 1000])
def test_a_pattern_on_cloud_storage_matches_the_objects_below_it(bucket, pattern, expected, page_objects):
    bucket.page_objects = page_objects
    assert [video.uri.removeprefix("gs://gym/") for video in list_objects(pattern)] == expected


@pytest.mark.parametrize("name", ["Squats [id].mp4", "what?.mp4", "two\nlines.mp4"])
def test_an_existing_name_with_wildcards_is_taken_as_it_is(bucket, name):
    bucket.contents = {f"gym/{other}": b"12345" for other in (name, "Squats i.mp4", "whats.mp4")}
    assert [video.uri for video in list_objects(f"gs://gym/{name}")] == [f"gs://gym/{name}"]


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("set[1", ["set[1/a.mp4", "set[1/deep/b.mp4"]),
        ("set[1/", ["set[1/a.mp4", "set[1/deep/b.mp4"]),
        ("set[1/*", ["set[1/a.mp4"]),
        ("set[1/a.mp4", ["set[1/a.mp4"]),
        ("s*[1/**", ["set[1/a.mp4", "set[1/deep/b.mp4"]),
        ("set[]", []),
    ],
)
@pytest.mark.parametrize("scheme", ["gs", "memory"])
def test_an_open_bracket_in_a_remote_name_is_a_plain_character(bucket, monkeypatch, scheme, pattern, expected):
    names = ["set1/c.mp4", "set[1/a.mp4", "set[1/deep/b.mp4"]
    bucket.contents = {f"gym/{name}": b"12345" for name in names}
    monkeypatch.setattr(InMemoryFileSystem, "files", {f"memory://gym/{name}": (b"12345", 1.0) for name in names})
    assert [video.uri.removeprefix(f"{scheme}://gym/") for video in list_objects(f"{scheme}://gym/{pattern}")] == expected


def test_cloud_storage_lists_only_names_that_start_as_the_pattern_does_up_to_its_first_wildcard(bucket):
    for pattern in ("set[1/*.mp4", "set[12]/*.mp4", "set?/*"):
        list(list_objects(f"gs://gym/{pattern}"))
    assert [query["prefix"] for query in bucket.queries] == ["set[1/", "set", "set"]


def test_cloud_storage_is_asked_only_for_the_fields_and_pages_that_are_needed(bucket):
    bucket.page_objects = 2
    found = [found.uri for found in scan_objects("gs://gym/d**", limit=2) if isinstance(found, VideoRef)]
    assert found == ["gs://gym/day/b.mp4"]
    (query,) = bucket.queries
    assert query["prefix"] == "d"
    assert query["fields"] == "items(name,generation,size,timeCreated),nextPageToken"


def test_a_video_costs_three_requests_and_its_bucket_none(bucket):
    names = [f"{number}.mp4" for number in range(20)]
    bucket.contents = {f"gym/{name}": b"12345" for name in names}
    videos = list(list_objects("gs://gym/**"))
    for video in videos:
        download(video, io.BytesIO(), max_bytes=5)
    assert len(videos) == 20
    assert collections.Counter(bucket.requests) == {"list": 1, "object": 40, "content": 20}


@pytest.mark.parametrize("pattern", ["gs://gym/a*", "gs://gym/a.mp4"])
def test_requests_to_a_bucket_whose_requester_pays_name_who_pays(bucket, pattern):
    bucket.requester_pays = True
    (video,) = scan_objects(pattern, billing_project="payer")
    check_readable(video, "payer")
    file = io.BytesIO()
    download(video, file, max_bytes=5, billing_project="payer")
    assert file.read() == b"12345"
    with pytest.raises(OSError, match=r"--billing_project must name a project that pays\. .*requester pays"):
        list(list_objects(pattern))


@pytest.mark.usefixtures("hasty_retries")
def test_a_bucket_is_readable_although_the_store_does_not_deliver_one_object(cloud):
    dead = find_object(cloud.upload("dead.mp4", b"12345"))
    cloud.storage.fail(lambda request: "dead.mp4" in request.path and "alt=media" in request.path, times=10**6)
    with pytest.raises(OSError, match=r"^Cloud Storage refused: Timeout of 120\.0s exceeded"):
        check_readable(dead)
    cloud.upload("good.mp4", b"12345")
    check_readable(dead)


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Auckland"])
@pytest.mark.usefixtures("bucket")
def test_a_generation_on_cloud_storage_does_not_depend_on_the_time_zone(monkeypatch, zone):
    created = datetime.datetime(2025, 7, 15, 16, 0, 0, 123_000, tzinfo=datetime.UTC)
    expected = VideoRef("gs://gym/a.mp4", 1_752_595_200_123_456, 5, created)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert list(list_objects("gs://gym/a*")) == [expected]
        assert find_object("gs://gym/a.mp4") == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.usefixtures("bucket")
def test_an_object_on_cloud_storage_is_found_by_a_name_with_wildcards():
    assert find_object("gs://gym/day/clip[1].mp4") is not None
    assert find_object("gs://gym/gone.mp4") is None


@pytest.mark.parametrize("pattern", ["memory://gym/**", "gs://gym/**"])
@pytest.mark.usefixtures("memory_files", "bucket")
def test_an_empty_object_that_stands_for_a_folder_is_a_placeholder(pattern):
    left_out = [found for found in scan_objects(pattern) if isinstance(found, LeftOut)]
    assert left_out == [LeftOut(f"{pattern.removesuffix('**')}day/", Reason.PLACEHOLDER)]


def test_a_local_file_that_cannot_be_looked_at_is_not_said_to_be_deleted(tmp_path, monkeypatch):
    path = tmp_path / "a.mp4"
    path.touch()
    video = find_object(str(path))

    def refuse(path, **kwargs):
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)

    monkeypatch.setattr(os, "stat", refuse)
    with pytest.raises(OSError, match="Stale file handle"):
        check_listed(video)


def test_a_local_file_that_was_deleted_or_replaced_is_gone(tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(b"1234")
    video = find_object(str(path))
    check_listed(video)
    os.utime(path, ns=(0, video.generation + 1))
    with pytest.raises(ObjectGoneError, match="was replaced after it was listed"):
        check_listed(video)
    path.unlink()
    with pytest.raises(ObjectGoneError, match="was deleted after it was listed"):
        check_listed(video)


@pytest.mark.parametrize("uri", ["memory://gym/a.mp4", "gs://gym/a.mp4"])
@pytest.mark.usefixtures("memory_files", "bucket")
class TestDownload:
    def test_the_content_is_copied_and_the_file_rewound(self, uri):
        file = io.BytesIO()
        download(find_object(uri), file, max_bytes=5)
        assert file.read() == b"12345"

    def test_an_object_larger_than_allowed_is_not_copied(self, uri):
        file = io.BytesIO()
        with pytest.raises(ObjectTooLargeError, match="the file has 5 bytes, more than 4"):
            download(find_object(uri), file, max_bytes=4)
        assert file.getvalue() == b""

    def test_an_object_replaced_before_the_copy_is_gone(self, uri):
        video = find_object(uri)
        with pytest.raises(ObjectGoneError, match="replaced"):
            download(VideoRef(uri, video.generation + 1, 5, video.updated), io.BytesIO(), max_bytes=5)

    def test_an_object_replaced_during_the_copy_is_gone(self, uri, monkeypatch):
        video = find_object(uri)
        newer = VideoRef(uri, video.generation + 1, 5, video.updated)
        answers = iter([video, newer])
        monkeypatch.setattr(objects, "find_object", lambda *_: next(answers))
        with pytest.raises(ObjectGoneError, match="replaced"):
            download(video, io.BytesIO(), max_bytes=5)

    def test_an_object_deleted_during_the_copy_is_gone(self, uri, monkeypatch):
        video = find_object(uri)
        answers = iter([video, None])
        monkeypatch.setattr(objects, "find_object", lambda *_: next(answers))
        with pytest.raises(ObjectGoneError, match="deleted"):
            download(video, io.BytesIO(), max_bytes=5)


@pytest.mark.usefixtures("memory_files")
def test_an_object_that_is_larger_than_listed_is_not_copied_to_its_end():
    video = find_object("memory://gym/a.mp4")
    with pytest.raises(ObjectTooLargeError, match="the file has at least 5 bytes, more than 4"):
        download(VideoRef(video.uri, video.generation, 1, video.updated), io.BytesIO(), max_bytes=4)


def store_packed(bucket, content):
    """Stores an object with `Content-Encoding: gzip`, and returns it as listed, with its packed size."""
    bucket.contents["gym/packed.mp4"] = gzip.compress(content)
    bucket.encoded.add("gym/packed.mp4")
    video = find_object("gs://gym/packed.mp4")
    assert video.size_bytes == len(bucket.contents["gym/packed.mp4"])
    return video


def test_an_object_stored_compressed_is_copied_unpacked(bucket):
    content = os.urandom(200_000)
    file = io.BytesIO()
    download(store_packed(bucket, content), file, max_bytes=1_000_000)
    assert file.read() == content


def test_the_limit_holds_for_what_is_written_not_for_what_was_listed(bucket):
    video = store_packed(bucket, bytes(20_000_000))
    assert video.size_bytes < 100_000
    file = io.BytesIO()
    with pytest.raises(ObjectTooLargeError, match=r"at least 1,.* bytes, more than 1,000,000$"):
        download(video, file, max_bytes=1_000_000)
    assert len(file.getvalue()) <= 1_000_000


def test_an_object_that_unpacks_to_far_more_than_was_listed_is_refused_whatever_the_limit(bucket, monkeypatch):
    monkeypatch.setattr(objects, "FREE_UNPACKED_BYTES", 1_000_000)
    video = store_packed(bucket, bytes(20_000_000))
    file = io.BytesIO()
    with pytest.raises(ObjectTooLargeError, match=r"more than 1,000,000$"):
        download(video, file, max_bytes=16 << 30)
    assert len(file.getvalue()) <= 1_000_000


def test_a_generation_that_is_gone_from_cloud_storage_is_not_found(bucket, monkeypatch):
    video = find_object("gs://gym/a.mp4")
    monkeypatch.setattr(objects, "find_object", lambda *_: video)
    del bucket.contents["gym/a.mp4"]
    with pytest.raises(ObjectGoneError, match="replaced"):
        download(video, io.BytesIO(), max_bytes=5)


def test_only_the_two_ends_of_a_large_object_are_read(bucket):
    content = bytes(range(1, 251)) * 40
    bucket.contents["gym/a.mp4"] = content
    video, file = find_object("gs://gym/a.mp4"), io.BytesIO()
    copy_ends(video, file, head_bytes=100, tail_bytes=300, max_bytes=10_000)
    assert file.tell() == 0
    assert file.getvalue() == content[:100] + bytes(9600) + content[-300:]
    assert bucket.sent_bytes == 400


def test_a_range_of_a_remote_object_is_read_alone(bucket, monkeypatch):
    bucket.contents["gym/a.mp4"] = bytes(range(200))
    video = find_object("gs://gym/a.mp4")
    assert read_range(video, 50, 60) == bytes(range(50, 60))
    assert bucket.sent_bytes == 10
    del bucket.contents["gym/a.mp4"]
    with pytest.raises(ObjectGoneError, match="deleted"):
        read_range(video, 50, 60)
    monkeypatch.setattr(InMemoryFileSystem, "files", {"memory://gym/a.mp4": (b"abcdefghij", 7.0)})
    assert read_range(find_object("memory://gym/a.mp4"), 2, 5) == b"cde"


@pytest.mark.parametrize("size", [1, 400])
def test_a_small_object_is_copied_whole(bucket, size):
    bucket.contents["gym/a.mp4"] = b"x" * size
    file = io.BytesIO()
    copy_ends(find_object("gs://gym/a.mp4"), file, head_bytes=100, tail_bytes=300, max_bytes=10_000)
    assert file.getvalue() == b"x" * size
    assert bucket.requests.count("content") == 1


def test_the_ends_of_an_object_of_another_store_are_read(monkeypatch):
    monkeypatch.setattr(InMemoryFileSystem, "files", {"memory://gym/a.mp4": (b"abcdefghij", 7.0)})
    file = io.BytesIO()
    copy_ends(find_object("memory://gym/a.mp4"), file, head_bytes=2, tail_bytes=3, max_bytes=10)
    assert file.getvalue() == b"ab\0\0\0\0\0hij"


def test_the_ends_of_an_object_that_is_gone_replaced_or_too_large_are_not_read(bucket, monkeypatch):
    video = find_object("gs://gym/a.mp4")
    with pytest.raises(ObjectTooLargeError, match="5 bytes, more than 4"):
        copy_ends(video, io.BytesIO(), 1, 1, max_bytes=4)
    del bucket.contents["gym/a.mp4"]
    with pytest.raises(ObjectGoneError):
        copy_ends(video, io.BytesIO(), 1, 1, max_bytes=10)
    monkeypatch.setattr(InMemoryFileSystem, "files", {"memory://gym/a.mp4": (b"abcde", 7.0)})
    video = find_object("memory://gym/a.mp4")
    InMemoryFileSystem.files["memory://gym/a.mp4"] = (b"other", 8.0)
    with pytest.raises(ObjectGoneError):
        copy_ends(video, io.BytesIO(), 1, 1, max_bytes=10)


def test_a_packed_object_is_neither_unpacked_nor_read_beyond_its_ends(bucket):
    bucket.contents["gym/packed.mp4"] = gzip.compress(os.urandom(1000))
    bucket.encoded.add("gym/packed.mp4")
    with pytest.raises(ObjectTooLargeError, match="more than 10"):
        copy_ends(find_object("gs://gym/packed.mp4"), io.BytesIO(), 10, 10, max_bytes=10_000)
