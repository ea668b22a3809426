"""The demo videos show what `truth.csv` says, are the same every time, and are written whole or not at all."""

import csv
import errno
import os

import av
import cv2
import numpy as np
import pytest

from demo import draw_videos
from demo.draw_videos import CLIPS


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("demo videos")
    draw_videos.draw_videos(folder)
    return folder


@pytest.fixture
def short_clips(monkeypatch):
    """The first two clips, cut to a few frames, so that drawing takes milliseconds."""
    clips = tuple(_shortened(clip) for clip in CLIPS[:2])
    monkeypatch.setattr(draw_videos, "CLIPS", clips)
    return clips


def _shortened(clip):
    return draw_videos.dataclasses.replace(clip, length_sec=0.2)


def _read(path):
    reader = cv2.VideoCapture(str(path))
    frames = []
    while True:
        arrived, frame = reader.read()
        if not arrived:
            break
        frames.append(frame)
    fps = reader.get(cv2.CAP_PROP_FPS)
    reader.release()
    return np.stack(frames), fps


def _turns(curve):
    """Returns how often a curve clearly rises and falls again."""
    low, high = np.quantile(curve, [0.05, 0.95])
    above, turns = False, 0
    for value in curve:
        if not above and value > low + 0.7 * (high - low):
            above, turns = True, turns + 1
        elif above and value < low + 0.3 * (high - low):
            above = False
    return turns


@pytest.mark.slow
def test_every_clip_is_small_and_has_its_stated_length(folder):
    for clip in CLIPS:
        frames, fps = _read(folder / clip.file)
        assert frames.shape == (round(clip.length_sec * clip.fps), clip.size[1], clip.size[0], 3)
        assert fps == pytest.approx(clip.fps)
        assert 8 < clip.length_sec < 13
        assert (folder / clip.file).stat().st_size < 400_000


@pytest.mark.slow
def test_truth_names_every_video_in_the_folder_with_its_count(folder):
    with (folder / "truth.csv").open(newline="", encoding="utf-8") as file:
        truth = {row["file"]: int(row["count"]) for row in csv.DictReader(file)}
    assert truth == {clip.file: clip.count for clip in CLIPS}
    assert set(truth) == {path.name for path in folder.glob("*.mp4")}
    assert sorted(path.name for path in folder.iterdir() if path.name.startswith(".")) == []


@pytest.mark.slow
@pytest.mark.parametrize("clip", [clip for clip in CLIPS if clip.count], ids=lambda clip: clip.file)
def test_the_person_leaves_the_first_pose_as_often_as_the_true_count(clip, folder):
    frames, fps = _read(folder / clip.file)
    small = np.stack([cv2.resize(frame, (32, 24), interpolation=cv2.INTER_AREA) for frame in frames]).astype(np.float32)
    small /= np.median(small, axis=(1, 2), keepdims=True)  # the light drifts
    moved = np.sort(np.abs(small - small[0]).mean(axis=3).reshape(len(small), -1))[:, -40:].mean(axis=1)
    end_sec = 7.1 if "then_rest" in clip.file else clip.length_sec
    assert _turns(moved[: round(end_sec * fps)]) == clip.count


def test_a_clip_is_the_same_every_time():
    clip = _shortened(CLIPS[2])
    first, second = draw_videos._frames(clip), draw_videos._frames(clip)
    assert len(first) == 5
    np.testing.assert_array_equal(first, second)


def test_only_missing_and_outdated_clips_are_drawn(tmp_path, short_clips):
    first, second = (tmp_path / clip.file for clip in short_clips)
    assert draw_videos.draw_videos(tmp_path) == [first, second]
    assert draw_videos.draw_videos(tmp_path) == []
    os.utime(first, (1, 1))
    assert draw_videos.draw_videos(tmp_path) == [first]
    second.unlink()
    assert draw_videos.draw_videos(tmp_path) == [second]


def test_a_clip_that_cannot_be_written_completely_leaves_no_file(tmp_path, short_clips, monkeypatch, capsys):
    def fail(*args, **kwargs):
        raise av.error.OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(draw_videos.av, "open", fail)
    assert draw_videos.main([str(tmp_path)]) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_the_command_prints_how_many_videos_it_drew(tmp_path, short_clips, capsys):
    target = tmp_path / "new" / "folder"
    assert draw_videos.main([str(target)]) == 0
    assert draw_videos.main([str(target)]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"{target}: 2 videos drawn, 0 up to date",
        f"{target}: 0 videos drawn, 2 up to date",
    ]
