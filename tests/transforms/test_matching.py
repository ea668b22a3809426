"""Patterns match videos by their names, filters choose among them, and an input without a match is refused."""

import datetime
import os
from pathlib import Path

import pytest
from google.api_core.exceptions import Forbidden, ServiceUnavailable
from google.auth.exceptions import DefaultCredentialsError

from tests.support.samples import HOSTILE_NAMES
from tests.support.videos import encode_streams
from transforms import matching
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_video
from transforms.left_out import LeftOut, Reason
from transforms.machine_faults import MachineFaultError
from transforms.matching import (
    ALL_SUFFIXES,
    VIDEO_SUFFIXES,
    ListingFilter,
    NoMatchError,
    check_any_matches,
    check_matches,
    list_videos,
    match_objects,
)
from transforms.records import VideoRef


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


def left_out(pattern, root, **options):
    """Returns the names that a pattern leaves out, by reason."""
    found = [item for item in match_objects(str(pattern), **options) if isinstance(item, LeftOut)]
    reasons = {item.reason for item in found}
    return {reason: names([item for item in found if item.reason is reason], root) for reason in reasons}


def test_a_name_without_a_videos_suffix_is_left_out_and_said_so(videos_dir):
    assert left_out(videos_dir, videos_dir) == {Reason.SUFFIX: ["deep/er/e.json", "notes.txt"]}


def test_all_files_can_be_taken(videos_dir):
    assert len(list(list_videos(str(videos_dir), ALL_SUFFIXES))) == 6


def test_the_unlisted_case_is_listed_but_for_what_has_no_suffix():
    folder = Path(__file__).parents[2] / ".." / "shared" / "cases" / "unlisted"
    if not folder.is_dir():
        pytest.skip("needs ../shared/cases")
    assert names(list_videos(str(folder)), folder) == ["a.h264", "a.hevc", "a.insv", "a.ivf", "a.m2v", "listed.mp4"]
    assert left_out(folder, folder) == {Reason.SUFFIX: ["550e8400-e29b-41d4-a716-446655440000"]}


COMPANIONS = [
    "._a.mp4",
    "._two\nlines.mp4",
    ".DS_Store",
    "deep/Thumbs.db",
    "$IABC123.mp4",
    ".Trash-1000/files/a.mp4",
    ".Trashes/501/a.mp4",
    "$RECYCLE.BIN/S-1-5-21/$RABC123.mp4",
    "__MACOSX/._a.mp4",
    "@eaDir/a.mp4/SYNOVIDEO_VIDEO_SCREENSHOT.mp4",
    "lost+found/1.mp4",
    ".Spotlight-V100/a.mp4",
]


@pytest.mark.parametrize("suffixes", [VIDEO_SUFFIXES, ALL_SUFFIXES])
def test_companions_and_trash_are_left_out_as_such(tmp_path, suffixes):
    for name in (*COMPANIONS, "a.mp4", ".hidden.mp4", "$I.mp4", ".Trash.mp4"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"x")
    assert names(list_videos(f"{tmp_path}/**", suffixes), tmp_path) == ["$I.mp4", ".Trash.mp4", ".hidden.mp4", "a.mp4"]
    assert left_out(f"{tmp_path}/**", tmp_path, suffixes=suffixes) == {Reason.COMPANION: sorted(COMPANIONS)}


@pytest.mark.parametrize("folder", ["videos", "set[1"])
def test_a_companion_that_is_named_exactly_or_by_its_folder_is_taken(tmp_path, folder):
    trash = tmp_path / folder / ".Trash-1000"
    trash.mkdir(parents=True)
    for name in ("a.mp4", "._a.mp4"):
        (trash / name).touch()
    assert names(list_videos(str(trash / "._a.mp4")), trash) == ["._a.mp4"]
    assert names(list_videos(str(trash)), trash) == ["a.mp4"]
    assert names(list_videos(f"{trash}/*"), trash) == ["a.mp4"]


def test_trash_that_cannot_be_entered_is_no_loss(tmp_path, monkeypatch):
    (tmp_path / "lost+found").mkdir()

    def refuse(path):
        if str(path).endswith("lost+found"):
            raise PermissionError(13, "Permission denied", path)
        return scandir(path)

    scandir = os.scandir
    monkeypatch.setattr(os, "scandir", refuse)
    assert left_out(tmp_path, tmp_path) == {Reason.COMPANION: ["lost+found"]}


def test_a_link_that_leads_nowhere_counts_by_its_suffix_if_it_has_one(tmp_path):
    for name in ("a.mp4", "notes.txt", "camera"):
        (tmp_path / name).symlink_to(tmp_path / "nothing")
    assert left_out(tmp_path, tmp_path) == {Reason.UNREADABLE: ["a.mp4", "camera"], Reason.SUFFIX: ["notes.txt"]}


def test_an_input_of_which_nothing_can_be_looked_at_names_what_and_why(tmp_path):
    (tmp_path / "a.mp4").symlink_to(tmp_path / "nothing")
    for pattern in (tmp_path, tmp_path / "a.mp4", tmp_path / "*.mp4"):
        with pytest.raises(NoMatchError, match=r"a\.mp4' cannot be looked at: the link leads nowhere\. Received: "):
            check_matches([str(pattern)])


CONTAINERS = {
    "3gp": [".3g2", ".3gp"],
    "asf": [".asf", ".wmv"],
    "avi": [".avi", ".divx", ".xvid"],
    "flv": [".flv"],
    "gif": [".gif"],
    "h264": [".264", ".avc", ".h264"],
    "hevc": [".265", ".h265", ".hevc"],
    "ivf": [".ivf"],
    "matroska": [".mk3d", ".mkv"],
    "mov": [".mov", ".qt"],
    "mp4": [".f4v", ".insv", ".m4v", ".mp4", ".mp4v"],
    "mpeg": [".mpe", ".mpeg", ".mpg"],
    "mpeg1video": [".m1v", ".mpv"],
    "mpeg2video": [".m2v"],
    "mpegts": [".m2t", ".m2ts", ".mts", ".tod", ".trp", ".ts"],
    "mxf": [".mxf"],
    "ogg": [".ogm", ".ogv"],
    "vob": [".vob"],
    "webm": [".webm"],
}
"""Default suffixes by FFmpeg's name of a format that they stand for."""

FORMAT_CODECS = {
    "gif": ("gif", "rgb8"),
    "flv": ("flv1", "yuv420p"),
    "h264": ("libx264", "yuv420p"),
    "hevc": ("libx265", "yuv420p"),
    "ivf": ("libvpx", "yuv420p"),
    "mpeg": ("mpeg1video", "yuv420p"),
    "mpeg1video": ("mpeg1video", "yuv420p"),
    "mpeg2video": ("mpeg2video", "yuv420p"),
    "mpegts": ("mpeg1video", "yuv420p"),
    "mxf": ("mpeg2video", "yuv420p"),
    "vob": ("mpeg1video", "yuv420p"),
    "webm": ("libvpx", "yuv420p"),
}
"""Codec and pixel format of a format that does not take MPEG-4."""


def test_every_suffix_stands_for_a_format():
    assert sorted(suffix for suffixes in CONTAINERS.values() for suffix in suffixes) == list(VIDEO_SUFFIXES)


@pytest.mark.parametrize("container", sorted(CONTAINERS.keys() - {"ogg"}))  # no Theora encoder here
def test_every_default_suffix_is_of_a_format_that_is_decoded(tmp_path, container):
    codec, pixels = FORMAT_CODECS.get(container, ("mpeg4", "yuv420p"))
    drawn = encode_streams(tmp_path / "drawn", [range(40)], codec, pixels, size=(176, 144), container_format=container)
    for suffix in CONTAINERS[container]:
        path = tmp_path / f"a{suffix}"
        path.write_bytes(drawn.read_bytes())
        (video,) = list_videos(f"{tmp_path}/*{suffix}")
        with open(video.uri, "rb") as file:
            assert sum(len(samples.frames) for samples in read_video(file, DecodingOptions())) == 40


@pytest.mark.parametrize(
    ("cause", "raised"), [(ServiceUnavailable("503"), MachineFaultError), (DefaultCredentialsError("none"), NoMatchError)]
)
def test_a_store_that_fails_is_a_fault_of_the_machine_and_a_missing_login_is_not(monkeypatch, cause, raised):
    def fail(*arguments):
        raise OSError("Cloud Storage refused") from cause

    monkeypatch.setattr(matching, "scan_objects", fail)
    with pytest.raises(raised, match=r"^Cloud Storage refused Received: 'gs://gym/\*\*'$"):
        check_any_matches("gs://gym/**", ["gs://gym/**"])


class TestFilter:
    TIME = datetime.datetime(2026, 1, 2, tzinfo=datetime.UTC)

    def video(self, name="a.mp4", updated=TIME):
        return VideoRef(f"gs://gym/{name}", 1, 5, updated)

    def test_the_default_takes_all(self):
        assert ListingFilter().takes(self.video())

    def test_the_file_of_the_tables_and_what_is_stored_beside_it_are_no_videos(self):
        tables = "gs://gym/counts.duckdb"
        for name in ("", ".wal", ".attempts/a", ".staging-run-1/counts.parquet"):
            assert not ListingFilter(tables=tables).takes(self.video(f"counts.duckdb{name}"))
        for name in ("counts.duckdb.mp4", "other.duckdb", "a/counts.duckdb"):
            assert ListingFilter(tables=tables).takes(self.video(name))

    def test_what_runs_stage_is_no_video(self):
        taken = ListingFilter(temp_location="gs://gym/temp")
        for name in ("repcount-staging/counts/1/listing/2.parquet", "repcount-attempts/project.counts/3"):
            assert not taken.takes(self.video(f"temp/{name}"))
            assert taken.takes(self.video(name))
        assert taken.takes(self.video("temp/a.mp4"))
        assert taken.takes(self.video("temp/repcount-staging-of-ann/a.mp4"))

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
    with pytest.raises(NoMatchError, match=r"matches 1 objects, but none is a video: 1 without .*\(\.txt 1\).*\.mp4"):
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


def test_who_pays_for_a_bucket_is_asked_for_and_passed_on(cloud_storage):
    cloud_storage.contents = {"gym/a.mp4": b"12345"}
    cloud_storage.requester_pays = True
    check_matches(["gs://gym/**"], billing_project="payer")
    assert len(list(match_objects("gs://gym/**", billing_project="payer"))) == 1
    with pytest.raises(NoMatchError, match=r"--billing_project must name a project that pays"):
        check_matches(["gs://gym/**"])


def test_an_object_that_can_be_listed_but_not_read_fails_the_check(cloud_storage, monkeypatch):
    cloud_storage.contents = {"gym/a.mp4": b"12345"}

    def refuse(*args, **kwargs):
        raise Forbidden("no storage.objects.get access")

    monkeypatch.setattr("google.cloud.storage.Blob.download_as_bytes", refuse)
    with pytest.raises(NoMatchError, match=r"refused: .*storage\.objects\.get.*Received: 'gs://gym/\*\*'"):
        check_matches(["gs://gym/**"])
