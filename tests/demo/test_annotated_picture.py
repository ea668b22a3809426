"""The picture of annotated videos shows a landscape and a portrait with their counts."""

import dataclasses

import cv2
import pytest

from demo import annotated_picture
from tests.support.scorers import FAKE_COUNTER


@pytest.fixture(autouse=True)
def short_clips(monkeypatch):
    clips = tuple(dataclasses.replace(clip, length_sec=0.4) for clip in annotated_picture.CLIPS)
    monkeypatch.setattr(annotated_picture, "CLIPS", clips)
    monkeypatch.setattr(annotated_picture, "load_counter", lambda args: FAKE_COUNTER)


def test_a_picture_of_two_landscapes_and_a_portrait_is_written(tmp_path):
    assert annotated_picture.main([str(tmp_path / "new" / "annotated.png")]) == 0
    image = cv2.imread(str(tmp_path / "new" / "annotated.png"))
    assert image.shape == (320, 2 * 427 + 240 + 2 * 8, 3)
    panels = [image[20:60, left : left + 100] for left in (20, 427 + 8 + 20, 2 * (427 + 8) + 20)]
    assert all(panel.mean() < 130 for panel in panels)


def test_a_video_that_cannot_be_annotated_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(annotated_picture.Annotator, "annotate", lambda *arguments: False)
    with pytest.raises(RuntimeError, match=r"squats\.mp4 must be counted and annotated"):
        annotated_picture.draw(FAKE_COUNTER, tmp_path, scale=0.5)
