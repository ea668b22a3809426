"""The plot of a result shows frames, count and periodicity. A video that cannot be counted is one line on standard error."""

import cv2
import pytest

from demo import plot_result
from model.counting_options import CountingOptions
from model.errors import WeightsError
from pipeline.counter import Counter
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video, number_of, numbered
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig


@pytest.fixture(autouse=True)
def fake_model(monkeypatch):
    model = ModelConfig("fake", "0" * 64, FakeScorer.strides, "float32", period_offset=1)
    counter = Counter(DecodingOptions(), FakeScorer(), CountingOptions(), model)
    monkeypatch.setattr(plot_result, "load_counter", lambda args: counter)


def test_a_picture_is_written(tmp_path):
    video, picture = draw_video(tmp_path / "squats.mp4", 100), tmp_path / "new" / "squats.png"
    assert plot_result.main([str(video), str(picture)]) == 0
    image = cv2.imread(str(picture))
    assert image is not None
    assert min(image.shape[:2]) > 300


def test_pictures_are_spread_over_the_whole_video(tmp_path):
    def tall(index):
        return numbered(index, size=(48, 96))

    video = draw_video(tmp_path / "numbers.mp4", 100, size=(48, 96), draw=tall)
    pictures = plot_result.read_pictures(video, num_pictures=5)
    assert [number_of(picture) for picture in pictures] == [10, 30, 50, 70, 90]


def test_pictures_of_a_wide_video_show_its_middle(tmp_path):
    video = draw_video(tmp_path / "wide.mp4", 10, size=(128, 64))
    assert {picture.shape for picture in plot_result.read_pictures(video)} == {(64, 74, 3)}


@pytest.mark.parametrize("size", [(128, 64), (64, 128)])
def test_pictures_of_any_shape_fill_the_strip(tmp_path, size):
    pictures = plot_result.read_pictures(draw_video(tmp_path / "video.mp4", 10, size=size))
    height, width = pictures[0].shape[:2]
    assert 13 < len(pictures) * width / height < 15


def test_a_video_that_cannot_be_counted_writes_no_picture(tmp_path, capsys):
    empty = tmp_path / "empty.mp4"
    empty.touch()
    assert plot_result.main([str(empty), str(tmp_path / "out.png")]) == 1
    assert "EMPTY_FILE" in capsys.readouterr().err
    assert not (tmp_path / "out.png").exists()


def test_invalid_usage_is_one_line(tmp_path, capsys, monkeypatch):
    assert plot_result.main([str(tmp_path / "missing.mp4"), str(tmp_path / "out.png")]) == 2

    def refuse(args):
        raise WeightsError("no such model")

    monkeypatch.setattr(plot_result, "load_counter", refuse)
    assert plot_result.main([str(draw_video(tmp_path / "squats.mp4", 10)), str(tmp_path / "out.png")]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2
