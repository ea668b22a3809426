"""Pictures are frames of the videos in their true shape. A video without a picture stops nothing."""

import cv2
import numpy as np
import pytest

from pipeline.report import thumbnails
from pipeline.report.content import ReviewedVideo
from pipeline.report.thumbnails import draw_strip, make_thumbnails
from tests.support.videos import corner_marked, draw_video
from transforms.decoding.process import DecoderProcess
from transforms.objects import find_object
from transforms.text import valid_text


def reviewed(path, **changes):
    """Returns a video to review, as listed now."""
    found = find_object(str(path))
    fields = {
        "uri": found.uri,
        "generation": found.generation,
        "upload_date": found.updated.date(),
        "updated": found.updated,
        "size_bytes": found.size_bytes,
        "count": 1.0,
        "count_rounded": 1,
        "confidence": 0.5,
        "certainty": None,
        "best_score": 0.5,
        "duration_sec": 2.0,
        "width": 64,
        "height": 48,
        "flags": (),
        "segments": (),
        "repetition_times_sec": (),
    }
    return ReviewedVideo(**{**fields, **changes})


def decode(jpeg):
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)[:, :, ::-1]


def test_a_picture_shows_frames_of_the_video_in_their_colours(tmp_path):
    path = draw_video(tmp_path / "a.mp4", 90, draw=corner_marked)
    ((key, jpeg),) = make_thumbnails([reviewed(path)]).items()
    assert key == (str(path), path.stat().st_mtime_ns)
    picture = decode(jpeg)
    assert picture.shape == (96, 4 * 128, 3)
    assert len(jpeg) < 30_000
    red, green, blue = picture[10:38, 10:54].reshape(-1, 3).mean(axis=0)
    assert red > 150
    assert max(green, blue) < 100


def test_a_video_whose_name_is_not_utf_8_has_a_picture(tmp_path):
    path = draw_video(tmp_path / "cafe.mp4", 30).rename(tmp_path / "caf\udce9.mp4")
    assert make_thumbnails([reviewed(path, uri=valid_text(str(path)))])


def test_a_video_that_is_gone_replaced_or_no_video_has_no_picture(tmp_path):
    good, gone, replaced, text = (draw_video(tmp_path / f"{number}.mp4", 30) for number in range(4))
    videos = [reviewed(path) for path in (gone, replaced)]
    gone.unlink()
    draw_video(replaced, 40)
    text.write_text("not a video")
    videos += [reviewed(text), reviewed(good)]
    assert [uri for uri, _ in make_thumbnails(videos)] == [str(good)]


def test_an_object_in_a_bucket_has_a_picture_unless_it_is_large(cloud_storage, tmp_path, monkeypatch):
    cloud_storage.contents["gym/a.mp4"] = draw_video(tmp_path / "a.mp4", 30).read_bytes()
    video = reviewed("gs://gym/a.mp4")
    assert decode(make_thumbnails([video])["gs://gym/a.mp4", video.generation]).shape[0] == 96
    monkeypatch.setattr(thumbnails, "_MOST_REMOTE_BYTES", 1000)
    assert make_thumbnails([video]) == {}


@pytest.mark.parametrize(
    ("width", "height", "expected"),
    [
        (1920, 1080, (96, 3 * 171)),
        (1080, 1920, (96, 6 * 54)),
        (10_000, 1, (96, 2 * 288)),
        (1, 10_000, (96, 6 * 32)),
        (5, 0, (96, 2 * 288)),
    ],
)
def test_frames_have_the_shape_of_the_video_within_reason(width, height, expected):
    assert decode(draw_strip(np.zeros((24, 112, 112, 3), np.uint8), width, height)).shape[:2] == expected


def test_a_video_of_one_frame_has_a_picture_of_it():
    assert decode(draw_strip(np.zeros((1, 112, 112, 3), np.uint8), 64, 48)).shape == (96, 128, 3)


def test_a_decoder_that_does_not_start_leaves_the_page_without_pictures(tmp_path, monkeypatch, caplog):
    path = draw_video(tmp_path / "a.mp4", 30)
    monkeypatch.setattr(DecoderProcess, "_module", "no.such.module")
    assert make_thumbnails([reviewed(path)]) == {}
    assert "The page has no pictures" in caplog.text


def test_pictures_that_take_long_are_left_out(tmp_path, monkeypatch, caplog):
    path = draw_video(tmp_path / "a.mp4", 30)
    monkeypatch.setattr(thumbnails, "_ALL_SEC", 0.0)
    assert len(make_thumbnails([reviewed(path)] * 3)) <= 1
    assert "The page lacks pictures" in caplog.text
