"""Videos to train on are apart from those of benchmarks, encoded once, some of them slow, and labelled at every stride."""

import collections
import dataclasses

import numpy as np
import pytest

from model.config import LITE
from model.presets import PRESETS, load_weights, save_weights
from model.scoring import Scorer
from model.training import encoded_videos
from model.training.encoded_videos import EncodedVideo, Showing, encode_videos, read_video, showings
from model.training.videos import KINDS, draw_video
from tests.support.training import TINY


def test_hard_kinds_are_drawn_three_times_as_often_and_no_video_twice():
    chosen = [showing.seed for showing in showings(22 * 70)]
    assert len(set(chosen)) == len(chosen)
    assert min(chosen) >= 100_000
    kinds = collections.Counter(KINDS[seed % len(KINDS)] for seed in chosen)
    hard = set(encoded_videos._HARD_KINDS)
    assert {kind: kinds[kind] for kind in KINDS} == {kind: 210 if kind in hard else 70 for kind in KINDS}


def test_a_third_of_each_kind_is_slow_and_as_often_at_each_speed():
    shown = collections.Counter((KINDS[showing.seed % len(KINDS)], showing.repeats) for showing in showings(22 * 24))
    for kind in KINDS:
        often = 3 if kind in encoded_videos._HARD_KINDS else 1
        assert {repeats: shown[kind, repeats] for repeats in (1, 2, 3, 4, 6)} == {
            1: 16 * often, 2: 2 * often, 3: 2 * often, 4: 2 * often, 6: 2 * often,
        }  # fmt: skip


def test_more_videos_begin_with_the_same():
    assert showings(100)[:30] == showings(30)


def video(period, strides=(1, 4), num_frames=100, weight=1.0):
    """A video that repeats from frame 20 to 80."""
    active = np.zeros(num_frames, bool)
    active[20:80] = True
    embeddings = {stride: np.zeros((-(-num_frames // (64 * stride)), 64, 3), np.float16) for stride in strides}
    return EncodedVideo(embeddings, active, np.full(num_frames, period, np.float32), weight)


def test_labels_are_those_of_each_stride_s_positions():
    period, periodic, weight = video(8.0, strides=(1, 2)).window_labels()
    assert period.shape == periodic.shape == weight.shape == (3, 64)
    first, second = period[:2].ravel(), period[2]
    np.testing.assert_array_equal(first, np.where((np.arange(128) >= 20) & (np.arange(128) < 80), 8.0, 0.0))
    np.testing.assert_array_equal(second, np.where((np.arange(64) >= 10) & (np.arange(64) < 40), 4.0, 0.0))
    np.testing.assert_array_equal(periodic, period > 0)
    assert (weight == 1).all()


def test_a_movement_too_fast_for_a_stride_does_not_repeat_there_and_weighs_less():
    period, periodic, weight = video(8.0, weight=0.5).window_labels()
    assert (period[:2].max(), period[2].max(), periodic[2].max()) == (8, 0, 0)
    np.testing.assert_allclose(weight[2], np.where((np.arange(64) >= 5) & (np.arange(64) < 20), 0.15, 0.5))
    assert (weight[:2] == 0.5).all()


@pytest.fixture
def weights(tmp_path):
    """Weights of a small network."""
    from model.network import RepNet

    path = tmp_path / "first.safetensors"
    save_weights(path, RepNet(TINY), dataclasses.replace(PRESETS["lite"], config=TINY))
    return path


@pytest.fixture
def float32(monkeypatch):
    """Encoding in float32 on every processor."""
    monkeypatch.setattr(encoded_videos, "best_precision", lambda: "float32")


@pytest.mark.slow
def test_videos_are_encoded_once(weights, tmp_path, capsys):
    folder = tmp_path / "videos"
    encode_videos(1, weights, TINY, (1, 8), folder, workers=1)
    (first,) = folder.iterdir()
    before = first.stat()
    encode_videos(2, weights, TINY, (1, 8), folder, workers=2)
    assert first.stat() == before
    names = [f"{showing.seed}.{showing.repeats}.npz" for showing in showings(2)]
    assert sorted(file.name for file in folder.iterdir()) == sorted(names)
    assert capsys.readouterr().out == "1 of 1 videos drawn and encoded\n2 of 2 videos drawn and encoded\n"


@pytest.mark.slow
@pytest.mark.parametrize("repeats", [1, 4])
def test_an_encoded_video_is_what_windows_show_of_it(repeats, weights, float32, tmp_path):
    showing = Showing(showings(2)[1].seed, repeats)
    encoded_videos._write(tmp_path, showing, weights, (1, 8))
    read, drawn = read_video(tmp_path, showing), draw_video(showing.seed)
    np.testing.assert_array_equal(read.active, drawn.timing.active)
    np.testing.assert_allclose(read.period_frames, drawn.timing.period_frames, rtol=1e-6)
    shown = np.repeat(drawn.frames[::repeats], repeats, axis=0)
    expected = Scorer(load_weights(weights).network, (1, 8)).embed_windows(shown)
    assert {stride: embeddings.shape for stride, embeddings in read.embeddings.items()} == {
        stride: embeddings.shape for stride, embeddings in expected.items()
    }
    for stride, embeddings in expected.items():
        np.testing.assert_allclose(read.embeddings[stride], embeddings, rtol=1e-2, atol=1e-2)


def test_weights_of_another_network_are_refused(weights, tmp_path):
    with pytest.raises(ValueError, match=r"videos need initial_weights of the network .* Received: 'first\.safetensors'"):
        encode_videos(1, weights, LITE, (1, 8), tmp_path / "videos", workers=1)


def test_strokes_weigh_less(tmp_path):
    for kind, weight in (("strokes", 0.3), ("one set", 1.0)):
        np.savez(tmp_path / "7.2.npz", kind=kind, active=np.zeros(3, bool), period=np.ones(3, np.float32))
        assert read_video(tmp_path, Showing(7, 2)).weight == weight


@pytest.mark.parametrize("damage", [b"", b"junk", b"PK\x03\x04junk"])
def test_a_damaged_video_is_named(damage, tmp_path):
    (tmp_path / "7.1.npz").write_bytes(damage)
    with pytest.raises(ValueError, match=r"an encoded video is damaged: delete it, .* Received: .*7\.1\.npz"):
        read_video(tmp_path, Showing(7, 1))
