"""The listed version of a video is opened, wherever it is, or the error says why not; nothing is left on disk."""

import dataclasses
import datetime
import gzip
import io
import os
import tempfile
import types
from pathlib import Path

import cv2
import pytest

from tests.support.decoding import look_up, read_whole
from tests.support.in_memory_fs import InMemoryFileSystem
from tests.support.videos import number_of, numbered
from transforms.decoding import local_copy
from transforms.decoding.local_copy import open_video
from transforms.decoding.options import DecodingOptions
from transforms.decoding.reader import read_header, read_video
from transforms.decoding.samples import DecodeError
from transforms.failure_codes import FailureCode
from transforms.records import VideoRef

REALSET = Path(__file__).parents[4] / "shared" / "realset"

make_temporary_file = tempfile.TemporaryFile


def listed(path):
    """Returns a `VideoRef` of a file that may not exist."""
    return VideoRef(str(path), 1, 2, datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC))


def open_error(video, **options):
    """Returns the code and message of the error that opening a video raises."""
    with pytest.raises(DecodeError) as caught, open_video(video, **options):
        pass
    assert "\n" not in caught.value.message
    return caught.value.code, caught.value.message


def test_a_local_file_is_opened_in_place(clip):
    with open_video(look_up(clip)) as file:
        assert file.name == str(clip)
        assert file.read() == clip.read_bytes()


def test_an_empty_file_is_reported(tmp_path):
    (tmp_path / "a.mp4").touch()
    assert open_error(look_up(tmp_path / "a.mp4")) == (FailureCode.EMPTY_FILE, "the file is empty")


@pytest.mark.skipif(not REALSET.exists(), reason="needs the development set in ../shared/realset, which is missing")
def test_a_real_empty_file_is_reported():
    assert open_error(look_up(REALSET / "odd" / "zero_bytes.avi"))[0] is FailureCode.EMPTY_FILE


def test_a_missing_file_is_gone(tmp_path):
    code, message = open_error(listed(tmp_path / "a.mp4"))
    assert code is FailureCode.GONE
    assert "deleted" in message


def test_a_file_that_is_deleted_just_before_it_is_opened_is_gone(tmp_path, monkeypatch):
    monkeypatch.setattr(local_copy, "check_listed", lambda video: None)
    code, message = open_error(listed(tmp_path / "a.mp4"))
    assert code is FailureCode.GONE
    assert "deleted" in message


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_a_directory_or_pipe_in_the_place_of_the_file_is_a_read_error(tmp_path, monkeypatch, make):
    monkeypatch.setattr(local_copy, "check_listed", lambda video: None)
    make(tmp_path / "a.mp4")
    code, _ = open_error(listed(tmp_path / "a.mp4"))
    assert code is FailureCode.READ_ERROR


@pytest.mark.parametrize("make", [Path.mkdir, os.mkfifo], ids=["directory", "pipe"])
def test_a_file_that_a_directory_or_pipe_has_replaced_is_gone(tmp_path, make):
    make(tmp_path / "a.mp4")
    assert open_error(listed(tmp_path / "a.mp4"))[0] is FailureCode.GONE


def test_a_file_that_was_replaced_is_gone(clip, tmp_path):
    path = tmp_path / "a.mp4"
    path.write_bytes(clip.read_bytes())
    video = look_up(path)
    os.utime(path, ns=(0, video.generation + 1))
    code, message = open_error(video)
    assert code is FailureCode.GONE
    assert "replaced" in message


def test_a_file_that_is_too_large_is_reported(clip):
    code, message = open_error(look_up(clip), max_bytes=1000)
    assert (code, message) == (FailureCode.TOO_LARGE, f"the file has {clip.stat().st_size:,} bytes, more than 1,000")


@pytest.mark.parametrize(
    "name", ["img_%03d.mp4", "concat:a.mp4", "new\nline.mp4", "-i.mp4", "http:..mp4", os.fsdecode(b"\xff.mp4")]
)
def test_the_name_of_a_file_has_no_meaning(clip, tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    Path(name).write_bytes(clip.read_bytes())
    with open_video(look_up(name)) as file:
        (samples,) = read_video(file, DecodingOptions())
    assert [number_of(frame) for frame in samples.frames] == list(range(80))


def test_a_sequence_of_pictures_is_not_opened(tmp_path):
    for index in range(3):
        cv2.imwrite(str(tmp_path / f"img_{index:03d}.png"), numbered(index))
    assert open_error(listed(tmp_path / "img_%03d.png"))[0] is FailureCode.GONE


REMOTE = "memory://gym/a[1].mp4"


@pytest.fixture
def temporary_folder(clip, monkeypatch, tmp_path):
    """The folder for copies, empty; `REMOTE` holds `clip`."""
    monkeypatch.setattr(InMemoryFileSystem, "files", {REMOTE: (clip.read_bytes(), 7.0)})
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def test_a_remote_file_is_copied_and_the_copy_disappears(temporary_folder, clip):
    with open_video(look_up(REMOTE)) as file:
        assert file.read() == clip.read_bytes()
        assert not file.writable()
        assert len(read_whole(file.name)[0]) == 80
        assert list(temporary_folder.iterdir()) == []
    assert not Path(file.name).exists()


@pytest.mark.usefixtures("temporary_folder")
def test_a_remote_file_that_was_replaced_or_deleted_is_gone():
    video = look_up(REMOTE)
    InMemoryFileSystem.files[REMOTE] = (b"other", 8.0)
    code, message = open_error(video)
    assert code is FailureCode.GONE
    assert "replaced" in message
    del InMemoryFileSystem.files[REMOTE]
    code, message = open_error(video)
    assert code is FailureCode.GONE
    assert "deleted" in message


@pytest.mark.usefixtures("temporary_folder")
def test_a_remote_file_that_is_replaced_during_the_copy_is_gone(monkeypatch):
    video = look_up(REMOTE)

    def replace_and_open(self, path, mime_type="", compression_type=""):
        content, _ = self.files[path]
        self.files[path] = (b"other", 8.0)
        return io.BytesIO(content)

    monkeypatch.setattr(InMemoryFileSystem, "open", replace_and_open)
    code, message = open_error(video)
    assert code is FailureCode.GONE
    assert "replaced" in message


@pytest.mark.usefixtures("temporary_folder")
def test_an_empty_remote_file_is_reported():
    InMemoryFileSystem.files[REMOTE] = (b"", 7.0)
    assert open_error(look_up(REMOTE)) == (FailureCode.EMPTY_FILE, "the file is empty")


@pytest.mark.usefixtures("temporary_folder")
def test_a_missing_temporary_folder_does_not_make_a_video_gone(monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", "/nowhere/at/all")
    code, message = open_error(look_up(REMOTE))
    assert code is FailureCode.READ_ERROR
    assert message.startswith("FileNotFoundError: ")


class BrokenStream(io.RawIOBase):
    def readable(self):
        return True

    def readinto(self, buffer):
        raise ConnectionError("the line\nis down")


@pytest.mark.usefixtures("temporary_folder")
def test_a_remote_file_that_cannot_be_read_is_a_read_error(monkeypatch):
    monkeypatch.setattr(InMemoryFileSystem, "open", lambda self, path, mime_type="", compression_type="": BrokenStream())
    assert open_error(look_up(REMOTE)) == (FailureCode.READ_ERROR, "ConnectionError: the line is down")


@pytest.mark.usefixtures("temporary_folder")
def test_a_full_disk_is_a_read_error_of_the_video(monkeypatch):
    def fail(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(local_copy, "download", fail)
    code, message = open_error(look_up(REMOTE))
    assert code is FailureCode.READ_ERROR
    assert "No space left on device" in message


def test_an_error_of_the_disk_while_the_file_is_in_use_is_a_read_error(clip):
    with pytest.raises(DecodeError, match="Input/output error") as caught, open_video(look_up(clip)):
        raise OSError(5, "Input/output error")
    assert caught.value.code is FailureCode.READ_ERROR


@pytest.mark.usefixtures("temporary_folder")
def test_a_remote_file_that_is_too_large_is_not_copied(monkeypatch):
    video = look_up(REMOTE)
    monkeypatch.setattr(InMemoryFileSystem, "open", None)
    code, message = open_error(video, max_bytes=100)
    assert code is FailureCode.TOO_LARGE
    assert message.endswith("more than 100")


@pytest.mark.usefixtures("temporary_folder")
def test_a_copy_stops_where_a_remote_file_exceeds_the_limit():
    video = dataclasses.replace(look_up(REMOTE), size_bytes=1)
    code, message = open_error(video, max_bytes=100)
    assert code is FailureCode.TOO_LARGE
    assert message.endswith("more than 100")


def test_an_object_is_copied_from_its_bucket_and_the_copy_disappears(cloud, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    uri = cloud.upload("day/a b#1.mp4", clip.read_bytes())
    with open_video(look_up(uri)) as file:
        assert file.read() == clip.read_bytes()
        assert len(read_whole(file.name)[0]) == 80
    assert list(tmp_path.iterdir()) == []


def test_an_object_that_is_replaced_before_the_copy_is_gone(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=404, reason="notFound")
    code, message = open_error(video)
    assert code is FailureCode.GONE
    assert "replaced" in message
    (request,) = (request for request in cloud.storage.requests if "alt=media" in request.path)
    assert f"generation={video.generation}" in request.path


def test_an_object_without_read_permission_is_a_read_error(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=403, reason="forbidden")
    code, message = open_error(video)
    assert code is FailureCode.READ_ERROR
    assert message.startswith("Forbidden: ")


def test_a_download_that_breaks_off_is_continued(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(lambda request: "alt=media" in request.path, status=503, times=2)
    with open_video(video) as file:
        assert file.read() == clip.read_bytes()


@pytest.mark.usefixtures("hasty_retries")
def test_an_object_that_the_store_alone_does_not_deliver_is_no_read_error(cloud, clip):
    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.upload("b.mp4", b"any")
    cloud.storage.fail(lambda request: "a.mp4" in request.path and "alt=media" in request.path, times=10**6)
    code, message = open_error(video)
    assert code is FailureCode.NOT_DELIVERED
    assert "Timeout of 120" in message
    assert "503" in message


def test_a_large_download_is_continued_however_late_it_breaks_off(cloud, clip, monkeypatch):
    now = [0.0]
    clock = types.SimpleNamespace(monotonic=lambda: now[0], sleep=lambda sec: None)
    monkeypatch.setattr("google.api_core.retry.retry_unary.time", clock)
    monkeypatch.setattr("google.api_core.retry.retry_base.time", clock)

    def break_off_late(request):
        now[0] += 600.0
        return "alt=media" in request.path

    video = look_up(cloud.upload("a.mp4", clip.read_bytes()))
    cloud.storage.fail(break_off_late)
    with open_video(dataclasses.replace(video, size_bytes=2 << 30), max_bytes=4 << 30) as file:
        assert file.read() == clip.read_bytes()


def test_an_object_that_unpacks_beyond_the_limit_is_too_large_and_leaves_the_disk_free(cloud_storage, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    cloud_storage.contents["gym/bomb.mp4"] = gzip.compress(bytes(20_000_000))
    cloud_storage.encoded.add("gym/bomb.mp4")
    written = []
    monkeypatch.setattr(
        local_copy.tempfile, "TemporaryFile", lambda **options: written.append(make_temporary_file(**options)) or written[-1]
    )
    code, message = open_error(look_up("gs://gym/bomb.mp4"), max_bytes=1_000_000)
    assert code is FailureCode.TOO_LARGE
    assert message.endswith("more than 1,000,000")
    assert written[0].closed  # it has no name, so its bytes are free again
    assert list(tmp_path.iterdir()) == []


def test_for_its_header_only_the_ends_of_a_remote_object_are_copied(cloud_storage, clip, tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    data = clip.read_bytes()
    start, end = data.index(b"mdat") - 4, data.index(b"moov") - 4
    frames = (end - start + 20_000_000).to_bytes(4, "big") + data[start + 4 : end] + os.urandom(20_000_000)
    cloud_storage.contents["gym/a.mp4"] = data[:start] + frames + data[end:]
    with open_video(look_up("gs://gym/a.mp4"), header_only=True) as file:
        header = read_header(file)
        assert os.fstat(file.fileno()).st_blocks * 512 < 4_000_000
    assert header.duration_sec == pytest.approx(80 / 30)
    assert cloud_storage.sent_bytes < 3_000_000
    assert list(tmp_path.iterdir()) == []


def test_for_its_header_a_local_file_is_opened_in_place(clip):
    with open_video(look_up(clip), header_only=True) as file:
        assert file.name == str(clip)
