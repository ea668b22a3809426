"""Labelled videos are found, and counted with the curves of the worst ones kept."""

import numpy as np
import pytest

from model.counting_options import CountingOptions
from pipeline import evaluated_clips
from pipeline.command_line import UsageError
from pipeline.counter import Counter
from pipeline.labels import Label
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig

MODEL = ModelConfig("fake", "0" * 64, FakeScorer.strides, "float32", period_offset=1)
COUNTER = Counter(DecodingOptions(chunk_frames=128), FakeScorer(), CountingOptions(), MODEL)


def test_only_the_curves_of_the_worst_clips_are_kept(tmp_path):
    draw_video(tmp_path / "squats.mp4", 100)
    draw_video(tmp_path / "lunges.mp4", 70)
    draw_video(tmp_path / "still.mp4", 80, draw=lambda index: np.zeros((48, 64, 3), np.uint8))
    (tmp_path / "empty.mp4").touch()
    labels = [Label("squats.mp4", 7.0), Label("still.mp4", 0.5), Label("empty.mp4", 9.0), Label("lunges.mp4", 2.5)]
    labelled = evaluated_clips.find_labelled(labels, str(tmp_path))
    clips, worst = evaluated_clips.count_labelled(labelled, COUNTER, num_worst=2)
    assert [clip.label.file for clip in clips] == ["empty.mp4", "squats.mp4", "lunges.mp4", "still.mp4"]
    assert [curves.file for curves in worst] == ["squats.mp4", "lunges.mp4"]
    assert evaluated_clips.count_labelled(labelled, COUNTER, num_worst=0)[1] == []


def test_a_labelled_file_that_cannot_be_looked_at_is_named(tmp_path, monkeypatch):
    def refuse(path):
        raise PermissionError(13, "Permission denied", path)

    monkeypatch.setattr(evaluated_clips, "find_object", refuse)
    with pytest.raises(UsageError, match=r"must be readable: Permission denied\. Received: .*a\.mp4"):
        evaluated_clips.find_labelled([Label("a.mp4", 1.0)], str(tmp_path))


def test_a_file_with_several_parts_is_one_missing_file(tmp_path):
    labels = [Label("a.mp4", 1.0, 0.0, 2.0), Label("a.mp4", 2.0, 2.0, 5.0)]
    with pytest.raises(UsageError, match="1 of 1 are missing"):
        evaluated_clips.find_labelled(labels, str(tmp_path))
