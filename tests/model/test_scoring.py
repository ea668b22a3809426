"""Scoring computes each frame once, whatever the strides, and says what the network says."""

import itertools

import numpy as np
import pytest
import tensorflow as tf

from model import scoring
from model.config import LITE, REPNET_2020, WINDOW_FRAMES
from model.counting import count_repetitions
from model.counting_options import CountingOptions, StrideRule
from model.logits import chunk_frames, join_windows, window_frames
from model.precision import Precision
from model.presets import load_model
from model.scoring import Scorer, batch_sizes
from tests.reference.synthetic_clip import synthetic_clip
from tests.support.logits import concatenate
from tests.support.marks import slow
from tests.support.networks import make_lite, make_published

TOLERANCE = 5e-3
"""Of logits. Sharp kernels magnify the rounding of distances, the more so with weights that were never trained, and sums are
rounded differently with each number of threads."""


@pytest.fixture(scope="module")
def lite():
    return make_lite()


@pytest.fixture(scope="module")
def scorer(lite):
    return Scorer(lite, (1, 2, 3))


@pytest.mark.parametrize("num_frames", [1, 63, 64, 65, 200])
def test_every_window_gets_the_networks_logits(lite, scorer, num_frames):
    frames = synthetic_clip(3, num_frames, 11)
    scored = scorer.score(frames)
    for stride in (1, 2, 3):
        windows = window_frames(num_frames, stride)
        period, periodicity = lite(frames[windows])
        np.testing.assert_allclose(scored[stride].period, np.reshape(period, (-1, LITE.num_periods)), atol=TOLERANCE)
        np.testing.assert_allclose(scored[stride].periodicity, np.ravel(periodicity), atol=TOLERANCE)


def test_the_end_of_a_video_has_the_frozen_window(lite, scorer):
    frames = synthetic_clip(3, 70, 11)
    period, periodicity = lite(np.repeat(frames[-1:], WINDOW_FRAMES, axis=0)[None])
    scored = scorer.score(frames, is_last=True)
    np.testing.assert_allclose(scored[2].frozen_period, period[0], atol=TOLERANCE)
    np.testing.assert_allclose(scored[2].frozen_periodicity, periodicity[0], atol=TOLERANCE)
    assert scorer.score(frames, is_last=False)[2].frozen_period is None


def test_chunks_score_as_the_whole_video_does(scorer):
    length = chunk_frames(scorer.strides)
    frames = synthetic_clip(5, length + 90, 14)
    whole = scorer.score(frames)
    chunks = concatenate([scorer.score(frames[:length], is_last=False), scorer.score(frames[length:])])
    for stride in scorer.strides:
        np.testing.assert_allclose(chunks[stride].period, whole[stride].period, atol=TOLERANCE)
        np.testing.assert_allclose(chunks[stride].frozen_period, whole[stride].frozen_period, atol=TOLERANCE)


def test_nothing_is_left_in_the_temporary_folder_although_a_signal_may_end_the_process_at_any_moment(
    lite, monkeypatch, tmp_path
):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    Scorer(lite, (1,)).score(synthetic_clip(3, 64, 11))
    assert not list(tmp_path.iterdir())  # AutoGraph would write its source files there, until the process exits


@pytest.mark.parametrize("num_frames", [60, *slow(64 * 5 + 1)])
def test_windows_overlap_from_the_stride_on_that_is_asked_for(lite, scorer, num_frames):
    frames = synthetic_clip(3, num_frames, 11)
    plain, scored = scorer.score(frames), Scorer(lite, (1, 2, 3), overlap_from=2).score(frames)
    np.testing.assert_allclose(scored[1].period, plain[1].period, atol=TOLERANCE)
    np.testing.assert_allclose(scored[3].frozen_period, plain[3].frozen_period, atol=TOLERANCE)
    for stride in (2, 3):
        period, periodicity = lite(frames[window_frames(num_frames, stride, overlap=True)])
        joined = [join_windows(np.asarray(values), overlap=True) for values in (period, periodicity)]
        np.testing.assert_allclose(scored[stride].period, joined[0], atol=TOLERANCE)
        np.testing.assert_allclose(scored[stride].periodicity, joined[1], atol=TOLERANCE)


def test_repeats_score_as_repeated_frames_do(scorer):
    frames = synthetic_clip(3, 70, 11)
    repeated, shown = scorer.score(np.repeat(frames, 3, axis=0)), scorer.score(frames, repeats=3)
    for stride in scorer.strides:
        np.testing.assert_allclose(shown[stride].period, repeated[stride].period, atol=1e-3)


def test_the_embeddings_of_windows_are_what_is_scored(lite, scorer):
    frames = synthetic_clip(3, 70, 11)
    scored = scorer.score(frames)
    repeated = scorer.embed_windows(np.repeat(frames, 3, axis=0))
    for stride, embeddings in scorer.embed_windows(frames, repeats=3).items():
        np.testing.assert_allclose(embeddings, repeated[stride], atol=1e-3)
    for stride, embeddings in scorer.embed_windows(frames).items():
        period, periodicity = lite.heads(embeddings)
        np.testing.assert_allclose(scored[stride].period, np.reshape(period, (-1, LITE.num_periods)), atol=TOLERANCE)
        np.testing.assert_allclose(scored[stride].periodicity, np.ravel(periodicity), atol=TOLERANCE)


@pytest.fixture(scope="module")
def shipped():
    network = load_model("lite").network
    return network, Scorer(network, (1,))


def test_the_similarity_of_frames_is_the_networks_own(shipped):
    network, scorer = shipped
    frames = synthetic_clip(3, 58, 10)
    window = np.concatenate([frames[[0, 0, 0]], frames, frames[[-1, -1, -1]]])
    expected = network.similarity(scorer.embeddings(window)[None, 3:61]).numpy()[0].mean(axis=-1)
    np.testing.assert_allclose(scorer.similarity(frames), expected, atol=1e-3)


@pytest.mark.parametrize("num_frames", [1, 20, 150])
def test_frames_of_equal_phase_are_similar_across_windows(shipped, num_frames):
    _, scorer = shipped
    similarity = scorer.similarity(synthetic_clip(3, num_frames, 10))
    assert similarity.shape == (num_frames, num_frames)
    np.testing.assert_allclose(np.diagonal(similarity), 1.0)
    np.testing.assert_allclose(similarity, similarity.T, atol=1e-3)
    inner = np.arange(3, num_frames - 3)  # the others lack neighbours
    lags = (inner[:, None] - inner) % 10
    assert np.all(similarity[3:-3, 3:-3][lags == 0] > 0.95)
    assert np.all(similarity[3:-3, 3:-3][lags == 5] < 0.5)


@pytest.mark.parametrize("precision", [Precision.BFLOAT16, Precision.FLOAT16])
def test_lower_precision_stays_near(lite, scorer, precision):
    frames = synthetic_clip(3, 100, 11)
    expected, got = scorer.score(frames), Scorer(lite, (1, 2, 3), precision).score(frames)
    for stride in (1, 2, 3):
        assert got[stride].period.dtype == np.float32
        assert np.abs(got[stride].period - expected[stride].period).max() < 0.1 * np.ptp(expected[stride].period)


def test_any_length_is_a_few_shapes_and_no_padding():
    for num_frames, largest in itertools.product(range(1, 300), (1, 32, 64)):
        sizes = list(batch_sizes(num_frames, largest))
        assert sum(sizes) == num_frames
        assert set(sizes) <= {largest, 1, 2, 4, 8, 16, 32}


def test_no_length_makes_the_graph_be_traced_again(scorer):
    for num_frames in (1, 64, 129, 200):
        scorer.score(synthetic_clip(1, num_frames, 9))
    assert scorer._embed.experimental_get_tracing_count() == 1
    assert scorer._heads.experimental_get_tracing_count() == 1


@pytest.mark.parametrize("strides", [(), (0, 1), (2, 2)])
def test_invalid_strides_are_refused(lite, strides):
    with pytest.raises(ValueError, match="strides must be different whole numbers"):
        Scorer(lite, strides)


@pytest.mark.parametrize("shape", [(0, 112, 112, 3), (4, 56, 56, 3), (112, 112, 3)])
def test_frames_of_another_shape_are_refused(scorer, shape):
    with pytest.raises(ValueError, match=r"frames must be \(at least 1, 112, 112, 3\)"):
        scorer.score(np.zeros(shape, np.uint8))


@pytest.mark.slow
def test_the_published_network_agrees_with_the_golden_outputs(golden):
    expected = golden("model_2020")
    scorer = Scorer(make_published("2020"), (1,))
    for i, (seed, num_frames, period) in enumerate(expected["clips"]):
        frames = synthetic_clip(int(seed), int(num_frames), period)
        scored = scorer.score(frames)[1]
        np.testing.assert_allclose(scored.period, expected["raw_scores"][i], atol=1e-3)
        np.testing.assert_allclose(scored.periodicity, expected["within_period_logits"][i, :, 0], atol=1e-3)
        np.testing.assert_allclose(scorer.embeddings(frames), expected["embeddings"][i], atol=1e-3)


@pytest.mark.slow
def test_bfloat16_counts_like_float32_under_the_notebooks_rule():
    network = make_published("2020")
    frames = synthetic_clip(2, 150, 12)
    options = CountingOptions(stride_rule=StrideRule.NOTEBOOK, video_threshold=0.0, frame_threshold=0.1)
    counts = [
        count_repetitions(Scorer(network, (1, 2), precision).score(frames), 150, REPNET_2020.period_offset, options).count
        for precision in (Precision.FLOAT32, Precision.BFLOAT16)
    ]
    assert counts[1] == pytest.approx(counts[0], abs=0.5)


class TestTooLittleMemory:
    @pytest.fixture
    def small(self, lite):
        """A scorer on a device with memory for 16 frames per batch, and the batch sizes it has tried."""
        scorer = Scorer(lite, (1, 2), batch_frames=64)
        compute, tried, room = scorer._frame_model, [], [16]

        def compute_if_it_fits(frames):
            tried.append(len(frames))
            if len(frames) > room[0]:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return compute(frames)

        scorer._frame_model = compute_if_it_fits
        return scorer, tried, room

    def test_the_batch_is_halved_from_then_on(self, lite, small):
        scorer, tried, _ = small
        frames = synthetic_clip(3, 100, 11)
        scored = scorer.score(frames)
        np.testing.assert_allclose(scored[1].period, Scorer(lite, (1, 2)).score(frames)[1].period, atol=1e-3)
        assert tried[:3] == [64, 32, 16]
        tried.clear()
        scorer.score(frames)
        assert max(tried) == 16

    def test_a_device_without_room_for_one_frame_is_an_error(self, small):
        scorer, tried, room = small
        room[0] = 0
        with pytest.raises(tf.errors.ResourceExhaustedError):
            scorer.score(synthetic_clip(3, 70, 11))
        assert tried == [64, 32, 16, 8, 4, 2, 1]

    def test_the_heads_are_part_of_what_is_halved(self, lite, scorer):
        frames = synthetic_clip(3, 64 * 2, 11)
        expected, scorer = scorer.score(frames)[1].period, Scorer(lite, (1,))
        heads, tried = scorer._heads, []

        def compute_if_it_fits(embeddings):
            tried.append(len(embeddings))
            if len(embeddings) > 2:
                raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating tensor")
            return heads(embeddings)

        scorer._heads = compute_if_it_fits
        np.testing.assert_allclose(scorer.score(frames)[1].period, expected, atol=1e-3)
        assert tried == [3, 3, 3, 3, 2, 1]
        scorer.score(frames)
        assert tried[6:] == [2, 1]

    def test_warming_up_is_halved_too(self, small):
        scorer, tried, _ = small
        scorer.warm_up()
        assert tried[:3] == [64, 32, 16]


class TestOtherErrors:
    @pytest.fixture
    def faulty(self, lite):
        """A scorer, the batch sizes it has tried, and the errors that its next batches raise."""
        scorer = Scorer(lite, (1, 2), batch_frames=64)
        compute, tried, errors = scorer._frame_model, [], []

        def compute_or_fail(frames):
            tried.append(len(frames))
            if errors:
                raise errors.pop()
            return compute(frames)

        scorer._frame_model = compute_or_fail
        return scorer, tried, errors

    def test_frames_are_scored_a_second_time_with_half_the_batch_then_as_before(self, scorer, faulty):
        expected, (scorer, tried, errors) = scorer.score(synthetic_clip(3, 64, 11)), faulty
        errors.append(tf.errors.InternalError(None, None, "a kernel failed once"))
        frames = synthetic_clip(3, 64, 11)
        scored = scorer.score(frames)
        np.testing.assert_allclose(scored[1].period, expected[1].period, atol=1e-3)
        assert tried == [64, 32, 32]
        scorer.score(frames)
        assert tried == [64, 32, 32, 64]

    def test_the_second_error_is_raised(self, faulty):
        scorer, tried, errors = faulty
        errors += [tf.errors.InvalidArgumentError(None, None, "second"), ValueError("first")]
        with pytest.raises(tf.errors.InvalidArgumentError, match="second"):
            scorer.score(synthetic_clip(3, 64, 11))
        assert tried == [64, 32]


@pytest.mark.parametrize("kind", [tf.errors.InternalError, tf.errors.NotFoundError, tf.errors.UnimplementedError])
def test_8_bits_without_their_kernels_are_an_error_that_says_what_they_need(kind):
    with pytest.raises(ValueError, match="int8 needs TensorFlow with oneDNN on an x86 processor"):
        scoring._check_int8(lambda frames: fail(kind(None, None, "no kernel")))


@pytest.mark.parametrize("kind", [tf.errors.ResourceExhaustedError, tf.errors.CancelledError])
def test_other_errors_of_8_bits_stay_what_they_are(kind):
    with pytest.raises(kind, match="no memory"):
        scoring._check_int8(lambda frames: fail(kind(None, None, "no memory")))


def fail(error):
    raise error


def test_warming_up_scores_a_window_of_every_stride(lite, monkeypatch):
    scorer, scored = Scorer(lite, (1, 3)), []
    monkeypatch.setattr(scorer, "score", lambda frames: scored.append(frames.shape))
    scorer.warm_up()
    assert scored == [(3 * 64, 112, 112, 3)]
