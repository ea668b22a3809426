"""The same movement has the same count at 30 fps, at 60 fps, at a variable frame rate, and in a slow video."""

import csv
import dataclasses
import itertools

import cv2
import pytest

from demo import draw_videos
from pipeline.api import count_video
from tests.support.shipped_model import count_against_truth
from tests.support.videos import set_steps


def write(path, frames, size):
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"mp4v"), 60, size)
    for frame in frames:
        writer.write(frame)
    writer.release()
    return path


@pytest.mark.slow
@pytest.mark.parametrize("name", ["push_ups.mp4", "squats.mp4"])
def test_counts_differ_by_less_than_half_a_repetition(tmp_path, name):
    clip = next(clip for clip in draw_videos.CLIPS if clip.file == name)
    videos = tmp_path / "videos"
    videos.mkdir()
    draw_videos.draw_clip(dataclasses.replace(clip, fps=60), videos / "60.mp4")
    draw_videos.draw_clip(dataclasses.replace(clip, fps=30), videos / "30.mp4")
    reader = cv2.VideoCapture(str(videos / "60.mp4"))
    frames = []
    while (read := reader.read())[0]:
        frames.append(read[1])
    # Like a phone: some frames are late, more of them after the first third.
    steps = [3 if number % 5 == 0 else 2 if number > len(frames) // 3 else 1 for number in range(len(frames))]
    kept = [place for place in itertools.accumulate([0, *steps[1:]]) if place < len(frames)]
    varying = write(videos / "varying.mp4", [frames[place] for place in kept], clip.size)
    set_steps(varying, [step / 60 for step in steps[1 : len(kept)]] + [1 / 30])
    with (tmp_path / "labels.csv").open("w", newline="") as file:
        csv.writer(file).writerows([("file", "count"), *((path.name, clip.count) for path in videos.iterdir())])
    counts = {file: count for file, (count, _) in count_against_truth(videos, tmp_path / "labels.csv").items()}
    assert max(counts.values()) - min(counts.values()) < 0.5, counts
    assert all(abs(count - clip.count) <= 1 for count in counts.values()), counts


@pytest.mark.slow
@pytest.mark.parametrize(("name", "fps"), [("jumping_jacks.mp4", 10), ("jumping_jacks.mp4", 5), ("push_ups.mp4", 10)])
def test_movements_of_a_few_frames_count_right_in_slow_videos(tmp_path, name, fps):
    clip = next(clip for clip in draw_videos.CLIPS if clip.file == name)
    draw_videos.draw_clip(dataclasses.replace(clip, fps=fps), tmp_path / name)
    counted = count_video(tmp_path / name)
    assert abs(counted.count - clip.count) <= 1
    assert counted.repetition_times_sec[-1] <= counted.duration_sec
