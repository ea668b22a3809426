"""The benchmark on changed clips changes how frames look, and nothing else."""

import itertools

import numpy as np
import pytest

from benchmarks import changed_clips
from benchmarks.changed_clips import CHANGES, ChangedScorer, shake, zoom
from tests.support.benchmarks import run_benchmark
from tests.support.scorers import FakeScorer
from tests.support.videos import draw_video

FRAMES = np.random.default_rng(1).integers(0, 256, (30, 112, 112, 3), np.uint8)


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_keeps_number_size_and_type_of_frames(name):
    changed = CHANGES[name](FRAMES)
    assert (changed.shape, changed.dtype) == (FRAMES.shape, FRAMES.dtype)
    assert np.array_equal(changed, FRAMES) == (name == "as they are")


def test_a_picture_half_as_wide_has_black_on_both_sides():
    narrow = zoom(0.5, 1.0)(np.full((1, 112, 112, 3), 200, np.uint8))
    assert np.flatnonzero(narrow[0, 50, :, 0] == 200).tolist() == list(range(28, 84))


def test_a_shaking_picture_moves_from_frame_to_frame_and_has_no_border():
    frames = shake(np.broadcast_to(FRAMES[:1] | 1, FRAMES.shape))
    assert not any(np.array_equal(one, other) for one, other in itertools.pairwise(frames))
    assert frames.min() > 0


def test_what_is_scored_is_changed():
    seen = []

    class Scorer(FakeScorer):
        def score(self, frames, *, is_last=True, repeats=1):
            seen.append((frames, is_last, repeats))
            return super().score(frames)

    ChangedScorer(Scorer(), CHANGES["negative"]).score(FRAMES, is_last=False, repeats=2)
    ((frames, is_last, repeats),) = seen
    assert np.array_equal(frames, 255 - FRAMES)
    assert (is_last, repeats) == (False, 2)


@pytest.mark.slow
def test_each_change_is_measured_on_all_clips(capsys, tmp_path):
    draw_video(tmp_path / "a.mp4", 20)
    (tmp_path / "labels.csv").write_text("file,count\na.mp4,0\n")
    result = run_benchmark(changed_clips, capsys, "--labels", str(tmp_path / "labels.csv"), "--videos", str(tmp_path))
    assert [one["change"] for one in result["results"]] == list(CHANGES)
    assert {one["videos"] for one in result["results"]} == {1}
