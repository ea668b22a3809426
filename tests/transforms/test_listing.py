"""A run lists every video once, whatever it is called, and nothing that is not one."""

import datetime
import os
import time

import apache_beam as beam
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.testing.util import assert_that, equal_to
from google.api_core.exceptions import Forbidden

from tests.shelf import ShelfFileSystem
from transforms.listing import ListVideos, NoMatchError, check_matches, find_object, list_objects, list_videos
from transforms.records import VideoRef

HOSTILE_NAMES = [
    "new\nline.mp4",
    "tab\tand\rreturn.mp4",
    "spaces  and 'single' \"double\" quotes.mp4",
    "-rf.mp4",
    "--output=x.mp4",
    "clip[1].mp4",
    "what?.mp4",
    "star*.mp4",
    "img_%03d.mp4",
    "back\\slash.mp4",
    "семь повторений 七回 🏋️.mp4",
    "'; DROP TABLE video_counts; --.mp4",
    "gs:colon.mp4",
    "e\u0301 is not \u00e9.mp4",
    " leading space.mp4",
    "trailing space.mp4 .mp4",
    os.fsdecode(b"not utf-8 \xff\xfe.mp4"),
]


@pytest.fixture
def videos_dir(tmp_path):
    (tmp_path / "deep" / "er").mkdir(parents=True)
    for name in ("a.mp4", "B.MOV", "notes.txt", "deep/c.webm", "deep/er/d.gif", "deep/er/e.json"):
        (tmp_path / name).write_bytes(b"x" * 10)
    return tmp_path


def names(videos, root):
    return sorted(os.path.relpath(video.uri, root) for video in videos)


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("**", ["B.MOV", "a.mp4", "deep/c.webm", "deep/er/d.gif"]),
        ("", ["B.MOV", "a.mp4", "deep/c.webm", "deep/er/d.gif"]),
        ("deep", ["deep/c.webm", "deep/er/d.gif"]),
        ("deep/", ["deep/c.webm", "deep/er/d.gif"]),
        ("*", ["B.MOV", "a.mp4"]),
        ("*/*", ["deep/c.webm"]),
        ("**.gif", ["deep/er/d.gif"]),
        ("**/*.mp4", []),
        ("[ab].mp4", ["a.mp4"]),
        ("?.mp4", ["a.mp4"]),
        ("a.mp4", ["a.mp4"]),
        ("notes.txt", ["notes.txt"]),
        ("notes.tx?", []),
        ("missing.mp4", []),
        ("missing/**", []),
    ],
)
def test_pattern_matches_the_videos_below_it(videos_dir, pattern, expected):
    assert names(list_videos(os.path.join(videos_dir, pattern)), videos_dir) == expected


def test_objects_are_listed_whatever_their_suffix(videos_dir):
    assert len(list(list_objects(f"{videos_dir}/**"))) == 6


def test_suffixes_can_be_chosen(videos_dir):
    assert names(list_videos(f"{videos_dir}/**", suffixes=(".txt",)), videos_dir) == ["notes.txt"]


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_hostile_name_is_listed_as_it_is(tmp_path, name):
    path = tmp_path / name
    path.write_bytes(b"1234")
    for pattern in (f"{tmp_path}/**", str(tmp_path), str(path)):
        (video,) = list_videos(pattern)
        assert video.uri == str(path)
        assert video.size_bytes == 4
    check_matches([str(path)])


@pytest.mark.parametrize("name", ["set[1]", "every*", "who?", "back\\slash"])
def test_directory_with_wildcards_in_its_name_is_listed(tmp_path, name):
    for directory in (name, "set1", "everything"):
        (tmp_path / directory).mkdir(exist_ok=True)
        (tmp_path / directory / "a.mp4").touch()
    assert names(list_videos(str(tmp_path / name)), tmp_path) == [f"{name}/a.mp4"]


def test_relative_pattern_gives_absolute_names(videos_dir, monkeypatch):
    monkeypatch.chdir(videos_dir)
    expected = list(list_videos(f"{videos_dir}/*.mp4"))
    assert list(list_videos("*.mp4")) == expected
    assert list(list_videos("deep/../a.mp4")) == expected
    assert [video.uri for video in expected] == [f"{videos_dir}/a.mp4"]


def test_generation_is_the_time_of_modification_to_the_nanosecond(tmp_path):
    path = tmp_path / "a.mp4"
    path.touch()
    os.utime(path, ns=(0, 1_700_000_000_123_456_789))
    (video,) = list_videos(str(path))
    assert video.generation == 1_700_000_000_123_456_789
    assert video.updated == datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.timezone.utc)


@pytest.mark.parametrize("modified_sec", [-(10**9), 4 * 10**11])
def test_time_beyond_all_calendars_is_no_error(tmp_path, modified_sec):
    path = tmp_path / "a.mp4"
    path.touch()
    os.utime(path, times=(0, modified_sec))
    assert [video.updated.tzinfo for video in list_videos(str(path))] == [datetime.timezone.utc]


def test_only_files_are_videos(tmp_path):
    (tmp_path / "directory.mp4").mkdir()
    os.mkfifo(tmp_path / "pipe.mp4")
    (tmp_path / "dangling.mp4").symlink_to(tmp_path / "nothing")
    assert list(list_videos(f"{tmp_path}/**")) == []
    assert list(list_videos(f"{tmp_path}/pipe.mp4")) == []
    assert find_object(str(tmp_path)) is None


def run_listing(patterns, **options):
    pipeline = beam.Pipeline(runner=FnApiRunner())
    listed = pipeline | ListVideos(patterns, **options)
    return pipeline, listed


def counters(result):
    found = result.metrics().query(MetricsFilter().with_namespace("repcount"))["counters"]
    return {counter.key.metric.name: counter.committed for counter in found}


def test_video_that_several_patterns_match_comes_once(videos_dir):
    pipeline, listed = run_listing([f"{videos_dir}/**", f"{videos_dir}/deep", f"{videos_dir}/a.mp4", f"{videos_dir}/*.json"])
    assert_that(listed, equal_to(list(list_videos(f"{videos_dir}/**"))))
    result = pipeline.run()
    assert counters(result) == {"videos_listed": 4, "objects_skipped": 3}


def test_hostile_names_travel_through_the_pipeline(tmp_path):
    for name in HOSTILE_NAMES:
        (tmp_path / name).touch()
    pipeline, listed = run_listing([f"{tmp_path}/**", *(str(tmp_path / name) for name in HOSTILE_NAMES)])
    assert_that(listed, equal_to([find_object(str(tmp_path / name)) for name in HOSTILE_NAMES]))
    pipeline.run()


def test_nothing_to_list_is_an_empty_collection(tmp_path):
    pipeline, listed = run_listing([f"{tmp_path}/**"])
    assert_that(listed, equal_to([]))
    pipeline.run()


def test_patterns_that_match_pass_the_check(videos_dir):
    check_matches([f"{videos_dir}/**", f"{videos_dir}/deep", f"{videos_dir}/notes.txt"])


@pytest.mark.parametrize("pattern", ["*.mkv", "missing.mp4", "missing/**"])
def test_pattern_without_a_match_is_named(videos_dir, pattern):
    pattern = f"{videos_dir}/{pattern}"
    with pytest.raises(NoMatchError, match="matches nothing") as caught:
        check_matches([f"{videos_dir}/**", pattern])
    assert str(caught.value).endswith(f"Received: {pattern!r}")
    assert "\n" not in str(caught.value)


def test_pattern_that_matches_no_video_says_what_it_does_match(videos_dir):
    with pytest.raises(NoMatchError, match=r"matches 1 objects, but none .*\.mp4"):
        check_matches([f"{videos_dir}/*.txt"])


def test_video_far_down_the_listing_is_a_match(tmp_path):
    for number in range(150):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.mp4").touch()
    check_matches([f"{tmp_path}/**"])


def test_empty_pattern_is_refused():
    with pytest.raises(NoMatchError, match="Received: ''"):
        check_matches([""])


def test_unknown_file_system_is_refused():
    with pytest.raises(NoMatchError, match=r"Received: 'nosuch://bucket/\*\*'"):
        check_matches(["nosuch://bucket/**"])


@pytest.fixture
def shelf(monkeypatch):
    monkeypatch.setattr(
        ShelfFileSystem,
        "shelf",
        {
            "shelf://gym/a.mp4": (b"12345", 1_700_000_000.123456),
            "shelf://gym/day/": (b"", 1.0),
            "shelf://gym/day/b.mp4": (b"", 2.0),
            "shelf://gym/day/clip[1].mp4": (b"", 3.0),
            "shelf://gym/day/notes": (b"", 4.0),
        },
    )


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("shelf://gym/**", ["a.mp4", "day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym", ["a.mp4", "day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym/", ["a.mp4", "day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym/day", ["day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym/day/", ["day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym/**/*.mp4", ["day/b.mp4", "day/clip[1].mp4"]),
        ("shelf://gym/*.mp4", ["a.mp4"]),
        ("shelf://gym/a.mp4", ["a.mp4"]),
        ("shelf://gym/day/notes", ["day/notes"]),
        ("shelf://gym/da", []),
    ],
)
@pytest.mark.usefixtures("shelf")
def test_remote_pattern_matches_the_videos_below_it(pattern, expected):
    assert [video.uri.removeprefix("shelf://gym/") for video in list_videos(pattern)] == expected


@pytest.mark.usefixtures("shelf")
def test_remote_generation_is_the_update_in_microseconds():
    (video,) = list_videos("shelf://gym/a.mp4")
    updated = datetime.datetime(2023, 11, 14, 22, 13, 20, 123456, tzinfo=datetime.timezone.utc)
    assert video == VideoRef("shelf://gym/a.mp4", 1_700_000_000_123_456, 5, updated)


@pytest.mark.usefixtures("shelf")
def test_remote_object_is_found_by_a_name_with_wildcards_in_it():
    assert find_object("shelf://gym/day/clip[1].mp4") is not None
    assert find_object("shelf://gym/gone.mp4") is None


@pytest.fixture
def bucket(cloud_storage):
    names = ["a.mp4", "day/", "day/b.mp4", "day/clip[1].mp4", "day/notes", "days.mp4", "семь 七.mp4", "x.txt"]
    cloud_storage.contents = {f"gym/{name}": b"12345" for name in names}
    cloud_storage.generations["gym/a.mp4"] = 1_752_595_200_123_456
    cloud_storage.created["gym/a.mp4"] = "2025-07-15T16:00:00.123Z"
    return cloud_storage


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("gs://gym/**", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "days.mp4", "семь 七.mp4"]),
        ("gs://gym", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "days.mp4", "семь 七.mp4"]),
        ("gs://gym/", ["a.mp4", "day/b.mp4", "day/clip[1].mp4", "days.mp4", "семь 七.mp4"]),
        ("gs://gym/day", ["day/b.mp4", "day/clip[1].mp4"]),
        ("gs://gym/day/", ["day/b.mp4", "day/clip[1].mp4"]),
        ("gs://gym/d*/", ["day/b.mp4", "day/clip[1].mp4"]),
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
def test_pattern_on_cloud_storage_matches_the_videos_below_it(bucket, pattern, expected, page_objects):
    bucket.page_objects = page_objects
    assert [video.uri.removeprefix("gs://gym/") for video in list_videos(pattern)] == expected


def test_no_more_is_asked_of_cloud_storage_than_is_needed(bucket):
    bucket.page_objects = 2
    assert [video.uri for video in list_objects("gs://gym/d**", limit=2)] == ["gs://gym/day/b.mp4"]
    (query,) = bucket.queries
    assert query["prefix"] == "d"
    assert query["fields"] == "items(name,generation,size,timeCreated),nextPageToken"


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin", "Pacific/Auckland"])
@pytest.mark.usefixtures("bucket")
def test_version_on_cloud_storage_is_its_generation_whatever_the_machines_time_zone(monkeypatch, zone):
    created = datetime.datetime(2025, 7, 15, 16, 0, 0, 123_000, tzinfo=datetime.timezone.utc)
    expected = VideoRef("gs://gym/a.mp4", 1_752_595_200_123_456, 5, created)
    monkeypatch.setenv("TZ", zone)
    time.tzset()
    try:
        assert list(list_videos("gs://gym/a*")) == [expected]
        assert find_object("gs://gym/a.mp4") == expected
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.usefixtures("bucket")
def test_object_on_cloud_storage_is_found_by_a_name_with_wildcards_in_it():
    assert find_object("gs://gym/day/clip[1].mp4") is not None
    assert find_object("gs://gym/gone.mp4") is None


@pytest.mark.usefixtures("cloud_storage")
def test_refusal_of_cloud_storage_is_one_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise Forbidden("no storage.objects.list\naccess")

    monkeypatch.setattr("google.cloud.storage.Bucket.list_blobs", refuse)
    with pytest.raises(NoMatchError, match=r"refused.*Received: 'gs://gym/\*\*'") as caught:
        check_matches(["gs://gym/**"])
    assert "\n" not in str(caught.value)
