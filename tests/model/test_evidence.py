"""What is kept of the logits counts the same as the logits, whole or in stretches of any length."""

import dataclasses

import numpy as np
import pytest

from model.counting import count_evidence, count_repetitions, gather_evidence
from model.counting_options import CountingOptions, StrideRule
from model.evidence import join_evidence, mean_score, total_score
from model.logits import StrideLogits, chunk_frames
from tests.support.logits import NUM_PERIODS, chunk_of, differences, random_logits

VOTE = CountingOptions(stride_rule=StrideRule.VOTE, video_threshold=0.0, frame_threshold=0.12, peak_share=0.3)
OPTIONS = [
    VOTE,
    dataclasses.replace(VOTE, constant_speed=True),
    CountingOptions(),
    CountingOptions(interpolate_periods=True),
    CountingOptions(constant_speed=True),
    CountingOptions(stride_rule=StrideRule.NOTEBOOK, batch_windows=3),
]


def with_frozen_window(logits):
    frozen = np.linspace(-2, 2, 64 * NUM_PERIODS, dtype=np.float32).reshape(64, NUM_PERIODS)
    return {
        stride: dataclasses.replace(of_stride, frozen_period=frozen, frozen_periodicity=frozen[:, 0])
        for stride, of_stride in logits.items()
    }


def stretches_of(logits, num_frames, options, repeats, frames_each):
    found = []
    for first in range(0, num_frames, frames_each):
        chunk = chunk_of(logits, num_frames * repeats, first * repeats, frames_each * repeats)
        if first + frames_each >= num_frames:
            chunk = with_frozen_window(chunk)
        found.append(gather_evidence(chunk, min(frames_each, num_frames - first), 1, options, repeats, first))
    return found


@pytest.mark.parametrize("options", OPTIONS, ids=lambda options: options.stride_rule.value)
@pytest.mark.parametrize(
    ("strides", "repeats", "num_frames", "chunks"), [((1, 2, 3, 4), 1, 1700, 1), ((1, 2, 4), 3, 1025, 1), ((2, 5), 1, 1921, 2)]
)
def test_stretches_of_any_length_count_as_the_whole_video(options, strides, repeats, num_frames, chunks):
    logits = random_logits(np.random.default_rng(7), num_frames * repeats, strides)
    frames_each = chunks * chunk_frames(strides)
    stretches = stretches_of(logits, num_frames, options, repeats, frames_each)
    assert len(stretches) > 1
    counted = count_evidence(join_evidence(stretches), options)
    expected = count_repetitions(with_frozen_window(logits), num_frames, 1, options, repeats)
    assert differences(counted, expected) == {}
    assert expected.count > 1


@pytest.mark.parametrize("options", OPTIONS[:4], ids=lambda options: options.stride_rule.value)
def test_the_logits_themselves_are_not_kept(options):
    logits = random_logits(np.random.default_rng(1), 300, (1, 2))
    evidence = gather_evidence(logits, 300, 1, options)
    kept = [evidence.votes.votes] if evidence.votes else [found.scores for found in evidence.positions.values()]
    assert all(found.period_logits is None for found in evidence.positions.values())
    assert not any(np.shares_memory(array, of.period) for array in kept for of in logits.values())


def test_a_stretch_that_is_missing_is_named():
    logits = random_logits(np.random.default_rng(1), 256, (1, 2))
    first, _ = stretches_of(logits, 256, VOTE, 1, 128)
    late = gather_evidence(logits, 256, 1, VOTE, 1, 256)
    with pytest.raises(ValueError, match=r"should begin at frame 128\. Received: one that begins at 256"):
        join_evidence([first, late])


@pytest.mark.parametrize("options", OPTIONS[::2], ids=lambda options: options.stride_rule.value)
def test_stretches_with_other_strides_are_refused(options):
    logits = random_logits(np.random.default_rng(1), 256, (1, 2))
    first, second = stretches_of(logits, 256, options, 1, 128)
    only_one = gather_evidence({1: StrideLogits(logits[1].period[128:], logits[1].periodicity[128:])}, 128, 1, options, 1, 128)
    with pytest.raises(ValueError, match=r"the strides of the first, \[1, 2\]\. Received: \[1\]"):
        join_evidence([first, only_one])
    assert join_evidence([first, second]).num_frames == 256


def test_the_mean_of_scores_does_not_depend_on_how_they_were_added():
    scores = np.random.default_rng(3).random(10_000).astype(np.float32) ** 8
    whole = mean_score(total_score(scores), len(scores))
    parts = mean_score(total_score(scores[:77]) + total_score(scores[77:]), len(scores))
    assert whole == parts == pytest.approx(scores.mean(dtype=np.float64), abs=1e-12)
