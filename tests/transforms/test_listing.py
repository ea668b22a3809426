"""A run lists every video once, whatever it is called, and nothing that is not one."""

import collections
import datetime
import os
import time

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
from apache_beam.metrics import MetricsFilter
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from google.api_core.exceptions import Forbidden

from tests.support.in_memory_fs import ShelfFileSystem
from transforms.listing import (
    ListingFilter,
    ListVideos,
    NoMatchError,
    check_any_matches,
    check_matches,
    find_object,
    list_objects,
    list_videos,
)
from transforms.records import VideoRef, VideoRefCoder
from transforms.warehouse.schema import LISTING

FILES = []
"""What the pipeline of `run_listing`, in this very process, says it wrote."""

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


def remember(file):
    FILES.append(file)


def run_listing(patterns, folder, **options):
    """Lists in a pipeline; returns the videos in the files that it says it wrote, and its counters."""
    pipeline = beam.Pipeline(runner=FnApiRunner())
    _ = pipeline | ListVideos(patterns, str(folder), **options) | beam.Map(remember)
    FILES.clear()
    result = pipeline.run()
    found = result.metrics().query(MetricsFilter().with_namespace("repcount"))["counters"]
    rows = [(file, row) for file in FILES for row in pq.read_table(file.path).to_pylist()]
    assert all(pq.read_schema(file.path).equals(LISTING.arrow_schema) for file in FILES)
    assert {file.path: file.num_rows for file in FILES} == collections.Counter(file.path for file, _ in rows)
    videos = [VideoRefCoder().decode(row["video"].encode()) for _, row in rows]
    return videos, {counter.key.metric.name: counter.committed for counter in found}


def test_each_pattern_lists_its_videos_into_files(videos_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("staging")
    videos, counters = run_listing([f"{videos_dir}/**", f"{videos_dir}/deep", f"{videos_dir}/*.json"], folder)
    expected = [*list_videos(f"{videos_dir}/**"), *list_videos(f"{videos_dir}/deep")]
    assert sorted(videos) == sorted(expected)
    assert counters == {"objects_skipped": 3}


def test_hostile_names_travel_through_the_pipeline(tmp_path, tmp_path_factory):
    for name in HOSTILE_NAMES:
        (tmp_path / name).touch()
    videos, _ = run_listing([f"{tmp_path}/**"], tmp_path_factory.mktemp("staging"))
    assert sorted(videos) == sorted(find_object(str(tmp_path / name)) for name in HOSTILE_NAMES)


def test_nothing_to_list_is_no_file(tmp_path):
    assert run_listing([f"{tmp_path}/**"], tmp_path / "staging") == ([], {})
    assert not (tmp_path / "staging").exists()


def test_a_long_listing_is_written_a_part_at_a_time(videos_dir, tmp_path_factory, monkeypatch):
    monkeypatch.setattr("transforms.warehouse.parquet.FILE_BYTES", 1)
    monkeypatch.setattr("transforms.warehouse.parquet.ROW_GROUP_BYTES", 1)
    monkeypatch.setattr("transforms.listing.ROW_GROUP_ROWS", 3)
    videos, _ = run_listing([f"{videos_dir}/**"], tmp_path_factory.mktemp("staging"))
    assert len(videos) == 4
    assert sorted(file.num_rows for file in FILES) == [1, 3]


class TestFilter:
    MOMENT = datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)

    def video(self, name="a.mp4", updated=MOMENT):
        return VideoRef(f"gs://gym/{name}", 1, 5, updated)

    def test_without_a_wish_all_are_taken(self):
        assert ListingFilter().takes(self.video())

    def test_from_a_moment_on_and_up_to_another(self):
        second = datetime.timedelta(seconds=1)
        assert ListingFilter(updated_after=self.MOMENT).takes(self.video())
        assert not ListingFilter(updated_after=self.MOMENT + second).takes(self.video())
        assert not ListingFilter(updated_before=self.MOMENT).takes(self.video())
        assert ListingFilter(updated_before=self.MOMENT + second).takes(self.video())

    def test_a_sample_has_its_share_and_a_larger_one_holds_it(self):
        videos = [self.video(f"{number}.mp4") for number in range(2000)]
        samples = [{video for video in videos if ListingFilter(sample=share).takes(video)} for share in (0.01, 0.1, 0.5)]
        assert samples[0] < samples[1] < samples[2]
        assert [len(sample) / len(videos) for sample in samples] == pytest.approx([0.01, 0.1, 0.5], abs=0.03)
        assert ListingFilter(sample=0.1).takes(self.video("4.mp4")) == ListingFilter(sample=0.1).takes(self.video("4.mp4"))

    @pytest.mark.parametrize("sample", [0, -0.5, 1.01, float("nan")])
    def test_a_share_is_above_0_and_at_most_1(self, sample):
        with pytest.raises(ValueError, match=r"sample must be above 0 and at most 1\. Received: "):
            ListingFilter(sample=sample)

    def test_times_in_the_wrong_order_are_refused(self):
        with pytest.raises(ValueError, match=r"updated_before must be later than updated_after\. Received: "):
            ListingFilter(updated_after=self.MOMENT, updated_before=self.MOMENT)

    def test_videos_that_are_not_taken_are_not_listed(self, videos_dir, tmp_path_factory):
        long_ago = ListingFilter(updated_before=datetime.datetime(2000, 1, 1, tzinfo=datetime.timezone.utc))
        assert run_listing([f"{videos_dir}/**"], tmp_path_factory.mktemp("s"), listing_filter=long_ago)[0] == []


def test_one_of_several_patterns_is_enough_where_they_mean_one_thing(videos_dir):
    check_any_matches("{date}", [f"{videos_dir}/none/**", f"{videos_dir}/deep/**"])
    with pytest.raises(NoMatchError, match=r"matches nothing.*Received: '\{date\}/\*\*'"):
        check_any_matches("{date}/**", [f"{videos_dir}/1/**", f"{videos_dir}/2/**"])


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


@pytest.mark.usefixtures("bucket")
def test_objects_that_may_be_listed_but_not_read_are_told_before_any_work(monkeypatch):
    def refuse(*args, **kwargs):
        raise Forbidden("no storage.objects.get access")

    monkeypatch.setattr("google.cloud.storage.Blob.download_as_bytes", refuse)
    with pytest.raises(NoMatchError, match=r"refused: .*storage\.objects\.get.*Received: 'gs://gym/\*\*'"):
        check_matches(["gs://gym/**"])
