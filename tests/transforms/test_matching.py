"""Patterns match videos by their names, filters choose among them, and an input without a match is refused."""

import datetime
import os

import pytest
from google.api_core.exceptions import Forbidden

from tests.support.samples import HOSTILE_NAMES
from transforms.matching import ListingFilter, NoMatchError, check_any_matches, check_matches, list_videos
from transforms.records import VideoRef


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
def test_a_pattern_matches_the_videos_below_it(videos_dir, pattern, expected):
    assert names(list_videos(os.path.join(videos_dir, pattern)), videos_dir) == expected


def test_other_suffixes_can_be_given(videos_dir):
    assert names(list_videos(f"{videos_dir}/**", suffixes=(".txt",)), videos_dir) == ["notes.txt"]


class TestFilter:
    TIME = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)

    def video(self, name="a.mp4", updated=TIME):
        return VideoRef(f"gs://gym/{name}", 1, 5, updated)

    def test_the_default_takes_all(self):
        assert ListingFilter().takes(self.video())

    def test_updated_after_is_inclusive_and_updated_before_exclusive(self):
        second = datetime.timedelta(seconds=1)
        assert ListingFilter(updated_after=self.TIME).takes(self.video())
        assert not ListingFilter(updated_after=self.TIME + second).takes(self.video())
        assert not ListingFilter(updated_before=self.TIME).takes(self.video())
        assert ListingFilter(updated_before=self.TIME + second).takes(self.video())

    def test_a_larger_sample_contains_a_smaller_one(self):
        videos = [self.video(f"{number}.mp4") for number in range(2000)]
        samples = [{video for video in videos if ListingFilter(sample=share).takes(video)} for share in (0.01, 0.1, 0.5)]
        assert samples[0] < samples[1] < samples[2]
        assert [len(sample) / len(videos) for sample in samples] == pytest.approx([0.01, 0.1, 0.5], abs=0.03)
        assert ListingFilter(sample=0.1).takes(self.video("4.mp4")) == ListingFilter(sample=0.1).takes(self.video("4.mp4"))

    @pytest.mark.parametrize("sample", [0, -0.5, 1.01, float("nan")])
    def test_a_sample_outside_0_to_1_is_refused(self, sample):
        with pytest.raises(ValueError, match=r"sample must be above 0 and at most 1\. Received: "):
            ListingFilter(sample=sample)

    def test_times_in_the_wrong_order_are_refused(self):
        with pytest.raises(ValueError, match=r"updated_before must be later than updated_after\. Received: "):
            ListingFilter(updated_after=self.TIME, updated_before=self.TIME)


def test_one_matching_pattern_of_a_template_is_enough(videos_dir):
    check_any_matches("{date}", [f"{videos_dir}/none/**", f"{videos_dir}/deep/**"])
    with pytest.raises(NoMatchError, match=r"matches nothing.*Received: '\{date\}/\*\*'"):
        check_any_matches("{date}/**", [f"{videos_dir}/1/**", f"{videos_dir}/2/**"])


def test_a_day_without_videos_is_no_error_if_another_day_has_some(videos_dir):
    assert check_any_matches("{date}/**", [f"{videos_dir}/deep/**"], on_any_day=[f"{videos_dir}/*/**"])
    assert not check_any_matches("{date}/**", [f"{videos_dir}/1/**"], on_any_day=[f"{videos_dir}/*/**"])
    with pytest.raises(NoMatchError, match="matches nothing on any day"):
        check_any_matches("{date}/**", [f"{videos_dir}/1/**"], on_any_day=[f"{videos_dir}/none/*/**"])


def test_patterns_that_match_pass_the_check(videos_dir):
    check_matches([f"{videos_dir}/**", f"{videos_dir}/deep", f"{videos_dir}/notes.txt"])


@pytest.mark.parametrize("name", HOSTILE_NAMES)
def test_a_hostile_name_passes_the_check(tmp_path, name):
    (tmp_path / name).touch()
    check_matches([str(tmp_path / name)])


@pytest.mark.parametrize("pattern", ["*.mkv", "missing.mp4", "missing/**"])
def test_a_pattern_without_a_match_is_named(videos_dir, pattern):
    pattern = f"{videos_dir}/{pattern}"
    with pytest.raises(NoMatchError, match="matches nothing") as caught:
        check_matches([f"{videos_dir}/**", pattern])
    assert str(caught.value).endswith(f"Received: {pattern!r}")
    assert "\n" not in str(caught.value)


def test_a_pattern_that_matches_other_objects_says_how_many(videos_dir):
    with pytest.raises(NoMatchError, match=r"matches 1 objects, but none .*\.mp4"):
        check_matches([f"{videos_dir}/*.txt"])


def test_a_video_far_down_the_listing_is_found(tmp_path):
    for number in range(150):
        (tmp_path / f"{number}.txt").touch()
    (tmp_path / "a.mp4").touch()
    check_matches([f"{tmp_path}/**"])


def test_an_empty_pattern_is_refused():
    with pytest.raises(NoMatchError, match="Received: ''"):
        check_matches([""])


def test_an_unknown_file_system_is_refused():
    with pytest.raises(NoMatchError, match=r"Received: 'nosuch://bucket/\*\*'"):
        check_matches(["nosuch://bucket/**"])


@pytest.mark.usefixtures("cloud_storage")
def test_a_refusal_of_cloud_storage_is_one_line(monkeypatch):
    def refuse(*args, **kwargs):
        raise Forbidden("no storage.objects.list\naccess")

    monkeypatch.setattr("google.cloud.storage.Bucket.list_blobs", refuse)
    with pytest.raises(NoMatchError, match=r"refused.*Received: 'gs://gym/\*\*'") as caught:
        check_matches(["gs://gym/**"])
    assert "\n" not in str(caught.value)


def test_an_object_that_can_be_listed_but_not_read_fails_the_check(cloud_storage, monkeypatch):
    cloud_storage.contents = {"gym/a.mp4": b"12345"}

    def refuse(*args, **kwargs):
        raise Forbidden("no storage.objects.get access")

    monkeypatch.setattr("google.cloud.storage.Blob.download_as_bytes", refuse)
    with pytest.raises(NoMatchError, match=r"refused: .*storage\.objects\.get.*Received: 'gs://gym/\*\*'"):
        check_matches(["gs://gym/**"])
