"""The grid of windows: whole windows at a chunk's end, frames repeated where they have run out."""

import numpy as np
import pytest

from model.logits import StrideLogits, chunk_frames, concatenate, window_frames


@pytest.mark.parametrize(("strides", "expected"), [((1,), 64), ((1, 2, 3, 4), 768), ((1, 2, 3, 4, 6, 8, 12), 1536)])
def test_a_chunk_ends_with_a_whole_window_of_every_stride(strides, expected):
    assert chunk_frames(strides) == expected
    for stride in strides:
        assert window_frames(expected, stride)[-1, -1] == expected - stride


def test_the_last_frame_is_repeated_where_frames_have_run_out():
    shown = window_frames(70, 2)
    assert shown.shape == (1, 64)
    assert shown[0, :35].tolist() == list(range(0, 70, 2))
    assert set(shown[0, 35:].tolist()) == {69}


def test_windows_of_a_stride_do_not_overlap():
    shown = window_frames(64 * 3 * 2, 3)
    assert shown.shape == (2, 64)
    assert shown.ravel().tolist() == list(range(0, 384, 3))


def test_chunks_concatenate_in_order_and_keep_the_last_ones_frozen_window():
    def chunk(value, frozen):
        return {2: StrideLogits(np.full((64, 3), value), np.full(64, value), frozen, frozen)}

    frozen = np.zeros((64, 3))
    joined = concatenate([chunk(1.0, None), chunk(2.0, frozen)])[2]
    assert joined.period[:, 0].tolist() == [1.0] * 64 + [2.0] * 64
    assert joined.periodicity.tolist() == [1.0] * 64 + [2.0] * 64
    assert joined.frozen_period is frozen
