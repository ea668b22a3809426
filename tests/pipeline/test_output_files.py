"""Files per video have names of their own that every system takes, and are written completely or not at all."""

import os
from pathlib import Path

import pytest

from pipeline.command_line import UsageError
from pipeline.output_files import check_file, check_folder, check_no_input, derive_names, write_text
from tests.support.samples import HOSTILE_NAMES


@pytest.mark.parametrize(
    ("uris", "names"),
    [
        (["/v/squats.mp4", "/v/rows.v2.mov"], ["squats", "rows.v2"]),
        (["/v/squats.mp4", "/v/squats.mov"], ["squats.mp4", "squats.mov"]),
        (["/v/mon/squats.mp4", "/v/tue/squats.mp4", "/v/tue/rows.mp4"], ["mon-squats", "tue-squats", "rows"]),
        (["/a/mon/Squats.mp4", "/b/mon/squats.mp4"], ["a-mon-Squats", "b-mon-squats"]),
        (["gs://gym/squats.mp4", "/gym/2/squats.mp4"], ["gym-squats", "2-squats"]),
        (["gs://gym/.mp4"], ["mp4"]),
        (["gs://gym/...."], ["video"]),
    ],
)
def test_a_file_is_named_after_its_video_and_after_its_folders_if_need_be(uris, names):
    assert derive_names(uris) == dict(zip(uris, names, strict=True))


def test_names_differ_whatever_the_videos_are_called():
    uris = ["/a-b/c.mp4", "/a/b-c.mp4", "/a/b/c.mp4", "/b/a/c.mp4", "/x/c.mp4", "/c.mp4", "/C.mp4", "/a?/c.mp4", "/a*/c.mp4"]
    uris += [f"/{folder}/{'x' * 200}{number}.mp4" for folder in "ab" for number in range(3)]
    uris += [f"/v/{name}" for name in derive_names(uris).values()]  # named as the files of others would be
    names = derive_names(uris)
    assert len({name.casefold() for name in names.values()}) == len(uris)
    assert derive_names(uris) == names


@pytest.mark.parametrize("name", [*HOSTILE_NAMES, "..", ".hidden.mp4", "x" * 255, "\u0958" * 80 + ".mp4"])
def test_hostile_names_stay_in_the_folder(tmp_path, name):
    (derived,) = derive_names([f"/v/{name}"]).values()
    write_text(tmp_path / f"{derived}.srt", "1")
    (written,) = os.listdir(tmp_path)
    assert written == f"{derived}.srt"
    assert derived.isprintable()
    assert not derived.startswith(".")
    assert len(os.fsencode(derived)) <= 200


def test_missing_folders_are_created_by_the_first_file(tmp_path):
    check_folder(str(tmp_path / "a" / "b"))
    assert list(tmp_path.iterdir()) == []
    write_text(tmp_path / "a" / "b" / "squats.srt", "1")
    assert (tmp_path / "a" / "b" / "squats.srt").read_text() == "1"


def test_a_device_or_a_pipe_is_not_replaced(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path / "pipe", Path(os.devnull), tmp_path):
        with pytest.raises(UsageError, match="--to must be a file, not a folder, a device or a pipe"):
            check_file("--to", path)
    check_file("--to", tmp_path / "new.csv")


def test_the_folder_must_be_one(tmp_path):
    (tmp_path / "file").touch()
    for folder in (str(tmp_path / "file"), str(tmp_path / "file" / "below"), "gs://gym/subtitles"):
        with pytest.raises(UsageError, match=r"^--output_dir must be .*Received: "):
            check_folder(folder)


def test_a_video_is_never_overwritten(tmp_path):
    video = tmp_path / "squats.srt"
    video.touch()
    (tmp_path / "link").symlink_to(tmp_path)
    for path in (video, tmp_path / "link" / "squats.srt"):
        with pytest.raises(UsageError, match="a video would be overwritten"):
            check_no_input([Path(tmp_path, "new.srt"), path], ["gs://gym/a.mp4", str(video)])
    check_no_input([Path(tmp_path, "other.srt")], [str(video)])
