"""From frames and their times to what the network takes, inside a TensorFlow graph; the exported model needs it.

The rules are those of `model.frame_times`, of `model.logits.slow_repeats`, and of `transforms.decoding`: the sampler of `clock`
and the sizes of `pixels`. Tests compare them.
"""

from __future__ import annotations

import tensorflow as tf

from model.config import FRAME_SIZE
from model.logits import MOST_REPEATS, SHOWN_FPS
from model.sampling import DEFAULT_FPS, EARLY_SHARE, RATE_TOLERANCE, USUAL_STEPS

RESIZED_SPEC = tf.TensorSpec((None, FRAME_SIZE, FRAME_SIZE, 3), tf.float32)
"""Shape and dtype of what `resize` returns."""


def check_input(frames: tf.Tensor, times_sec: tf.Tensor) -> list[tf.Operation]:
    """Returns assertions that there are frames, (n, height, width, 3), and one time for each, (n,)."""
    return [
        tf.debugging.assert_positive(tf.size(frames, tf.int64), "frames must be at least one, with a height and a width"),
        tf.debugging.assert_equal(tf.shape(frames)[0], tf.size(times_sec), "times_sec must have one time for each frame"),
    ]


def ascending(times_sec: tf.Tensor) -> tf.Tensor:
    """Returns times in seconds from the first frame, (n,) float64, that ascend from 0.

    A time that does not ascend, or is not finite, is replaced by the time of the frame before plus the usual step of the
    video. OpenCV, for instance, has no time for some frames, and returns 0. Frames before the first finite time are usual steps
    before it.

    Args:
      times_sec: Times of the frames, (n,) float64.
    """
    is_finite = tf.math.is_finite(times_sec)
    usual_sec = _usual_step(times_sec, is_finite)
    first = tf.argmax(is_finite)
    first_sec = tf.where(is_finite[first], times_sec[first] - tf.cast(first, tf.float64) * usual_sec, 0.0)
    given_sec = tf.where(is_finite, times_sec - first_sec, -tf.ones_like(times_sec))
    given_sec = tf.concat([tf.zeros_like(given_sec[:1]), given_sec[1:]], axis=0)
    steps_sec = given_sec[1:] - given_sec[:-1]

    def replace() -> tf.Tensor:
        def step_on(index: tf.Tensor, last_sec: tf.Tensor, out: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            time_sec = tf.where(given_sec[index] > last_sec, given_sec[index], last_sec + usual_sec)
            return index + 1, time_sec, out.write(index, time_sec)

        out = tf.TensorArray(tf.float64, tf.size(given_sec), element_shape=()).write(0, given_sec[0])
        start = (1, given_sec[0], out)
        _, _, out = tf.while_loop(lambda index, *_: index < tf.size(given_sec), step_on, start, parallel_iterations=1)
        return out.stack()

    return tf.cond(tf.reduce_all(steps_sec > 0), lambda: given_sec, replace)


def _usual_step(times_sec: tf.Tensor, is_finite: tf.Tensor) -> tf.Tensor:
    """Returns the median of the steps that ascend, () float64; of an even number, the lower of the two in the middle."""
    steps_sec = times_sec[1:] - times_sec[:-1]
    ascents_sec = tf.sort(tf.boolean_mask(steps_sec, (steps_sec > 0) & is_finite[1:] & is_finite[:-1]))
    default_sec = tf.constant([1 / DEFAULT_FPS], tf.float64)
    return tf.concat([ascents_sec, default_sec], axis=0)[tf.maximum(tf.size(ascents_sec) - 1, 0) // 2]


def sample(times_sec: tf.Tensor, max_fps: float) -> tf.Tensor:
    """Returns which frames to keep, (num_kept,) int32, so that they are at most `max_fps` a second, as `FrameSampler` does.

    Args:
      times_sec: Times in seconds from the first frame, (n,) float64, ascending.
      max_fps: Most frames per second, on average and with 5 % tolerance.
    """
    step_sec = 1 / (max_fps * RATE_TOLERANCE)
    num_frames = tf.size(times_sec)

    def step_on(index: tf.Tensor, due_sec: tf.Tensor, kept: tf.TensorArray) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
        time_sec = times_sec[index]
        keeps = time_sec >= due_sec - EARLY_SHARE * step_sec
        due_sec = tf.where(keeps, tf.maximum(due_sec, time_sec) + step_sec, due_sec)
        return index + 1, due_sec, kept.write(index, keeps)

    kept = tf.TensorArray(tf.bool, num_frames, element_shape=())
    start = (0, tf.constant(0.0, tf.float64), kept)
    _, _, kept = tf.while_loop(lambda index, *_: index < num_frames, step_on, start, parallel_iterations=1)
    return tf.cast(tf.where(kept.stack())[:, 0], tf.int32)


def slow_repeats(times_sec: tf.Tensor, below_fps: float) -> tf.Tensor:
    """Returns how often each frame of a video should be shown, () int32; see `model.logits.slow_repeats`.

    Args:
      times_sec: Times of the video's first frames in seconds, (n,) float64, ascending.
      below_fps: Frames a second below which a video is slow.
    """

    def repeats_of_many() -> tf.Tensor:
        fps = 1.0 / _median_step(times_sec)
        repeats = tf.clip_by_value(tf.round(SHOWN_FPS / fps), 1.0, MOST_REPEATS)
        return tf.where(fps < below_fps, tf.cast(repeats, tf.int32), 1)

    return tf.cond(tf.size(times_sec) > 1, repeats_of_many, lambda: tf.constant(1))


def _median_step(times_sec: tf.Tensor) -> tf.Tensor:
    """Returns the median step in seconds, () float64, of at least two times."""
    steps_sec = tf.sort(times_sec[1:] - times_sec[:-1])
    num_steps = tf.size(steps_sec)
    return (steps_sec[(num_steps - 1) // 2] + steps_sec[num_steps // 2]) / 2


def resize(frames: tf.Tensor) -> tf.Tensor:
    """Returns frames, (n, height, width, 3) uint8, at the network's size, (n, 112, 112, 3) float32 of whole numbers.

    Frames of 112×112 stay as they are. Others are resized as the decoder does with RGB: bilinear to 224×224, then the mean of
    each 2×2 block, both rounded. OpenCV's fixed point rounds the former down more often, so that a pixel may differ by 1.
    """
    is_small = tf.reduce_all(tf.equal(tf.shape(frames)[1:3], FRAME_SIZE))
    return tf.ensure_shape(tf.cond(is_small, lambda: tf.cast(frames, tf.float32), lambda: _halve(frames)), RESIZED_SPEC.shape)


def _halve(frames: tf.Tensor) -> tf.Tensor:
    """Returns frames of any size, uint8, at half of 224×224."""
    size = 2 * FRAME_SIZE
    doubled = tf.cond(
        tf.reduce_all(tf.equal(tf.shape(frames)[1:3], size)),
        lambda: tf.cast(frames, tf.float32),
        lambda: tf.floor(tf.image.resize(frames, (size, size)) + 0.5),
    )
    blocks = tf.reshape(doubled, (-1, FRAME_SIZE, 2, FRAME_SIZE, 2, 3))
    return tf.floor(tf.reduce_mean(blocks, axis=(2, 4)) + 0.5)


def take(frames: tf.Tensor, indices: tf.Tensor) -> tf.Tensor:
    """Returns some of the frames, without a copy if they follow each other.

    Args:
      frames: Frames, (n, height, width, 3).
      indices: Which to take, (k,) int32, ascending, at least one.
    """
    is_run = tf.equal(indices[-1] - indices[0], tf.size(indices) - 1)
    return tf.cond(is_run, lambda: frames[indices[0] : indices[-1] + 1], lambda: tf.gather(frames, indices))


def frame_edges(times_sec: tf.Tensor, all_times_sec: tf.Tensor) -> tf.Tensor:
    """Returns the times in seconds, (num_kept + 1,) float64, at which each kept frame appears, and at which the last one ends.

    Args:
      times_sec: Times of the frames that are kept, (num_kept,) float64.
      all_times_sec: Times of all frames, (n,) float64, from 0. The last one lasts the median of the 31 steps before it.
    """
    latest_sec = all_times_sec[-(USUAL_STEPS + 1) :]
    default_sec = tf.constant(1 / DEFAULT_FPS, tf.float64)
    step_sec = tf.cond(tf.size(latest_sec) > 1, lambda: _median_step(latest_sec), lambda: default_sec)
    return tf.concat([times_sec, (latest_sec[-1] + step_sec)[None]], axis=0)


def frame_lengths(edges_sec: tf.Tensor, is_periodic: tf.Tensor, periods_frames: tf.Tensor) -> tf.Tensor:
    """Returns the seconds that each frame lasts, (n,) float64: until the next one appears, but before a pause one usual step.

    Recorders drop frames while nothing moves. A step that is longer than a repetition beside it, at the usual step, is a pause.
    The usual step is the median of 31 steps, since a video may go on at another frame rate: those around it, or the first or
    last ones of the video. Of an even number, the lower of the two in the middle counts.

    Args:
      edges_sec: Times of the frames' edges, (n + 1,) float64, see `frame_edges`.
      is_periodic: Whether each frame counts, (n,) bool.
      periods_frames: Period of each frame in frames, (n,) float64.
    """
    steps_sec = edges_sec[1:] - edges_sec[:-1]
    counting = tf.cast(tf.where(is_periodic)[:, 0], tf.int32)
    num_counting = tf.size(counting)

    def without_pauses() -> tf.Tensor:
        frames = tf.range(tf.size(steps_sec))
        before = tf.maximum(tf.searchsorted(counting, frames, "right") - 1, 0)
        after = tf.minimum(tf.searchsorted(counting, frames + 1), num_counting - 1)
        periods = tf.gather(periods_frames, counting)
        one = tf.constant(1.0, tf.float64)
        longest = tf.maximum(one, tf.maximum(tf.gather(periods, before), tf.gather(periods, after)))
        # Hardly any, so few medians are needed.
        long = tf.cast(tf.where(steps_sec > longest * tf.reduce_min(steps_sec))[:, 0], tf.int32)
        num_around = tf.minimum(USUAL_STEPS, tf.size(steps_sec))
        first = tf.clip_by_value(long - USUAL_STEPS // 2, 0, tf.size(steps_sec) - num_around)
        around = first[:, None] + tf.range(num_around)
        usual_sec = tf.sort(tf.gather(steps_sec, around))[:, (num_around - 1) // 2]
        steps, most = tf.gather(steps_sec, long), tf.gather(longest, long)
        return tf.tensor_scatter_nd_update(steps_sec, long[:, None], tf.where(steps > most * usual_sec, usual_sec, steps))

    return tf.cond(num_counting > 0, without_pauses, lambda: steps_sec)


def times_at(positions: tf.Tensor, times_sec: tf.Tensor, lengths_sec: tf.Tensor) -> tf.Tensor:
    """Returns the times in seconds, (k,) float64, at which fractional frames are over.

    Args:
      positions: Fractional frames, (k,) float64 from 0 to n: frame i lasts from i to i + 1.
      times_sec: Times at which frames appear, (n,) float64.
      lengths_sec: How long they last, (n,) float64.
    """
    frames = tf.maximum(tf.cast(tf.math.ceil(positions), tf.int32) - 1, 0)
    shares = positions - tf.cast(frames, tf.float64)
    return tf.gather(times_sec, frames) + shares * tf.gather(lengths_sec, frames)


def period_seconds(is_periodic: tf.Tensor, periods_frames: tf.Tensor, lengths_sec: tf.Tensor) -> tf.Tensor:
    """Returns the seconds, (n,) float64, that a repetition around each frame takes, without pauses; NaN where nothing repeats.

    A period near an end of the video is measured within the video. One longer than the video is extrapolated from all of it.

    Args:
      is_periodic: Whether each frame counts, (n,) bool.
      periods_frames: Period of each frame in frames, (n,) float64.
      lengths_sec: How long each frame lasts, (n,) float64.
    """
    num_frames = tf.cast(tf.size(periods_frames), tf.float64)
    periods = tf.where(is_periodic, periods_frames, tf.ones_like(periods_frames))
    within = tf.minimum(periods, num_frames)
    middles = tf.cast(tf.range(tf.size(periods)), tf.float64) + 0.5
    starts = tf.maximum(tf.minimum(middles - within / 2, num_frames - within), 0.0)
    played_sec = tf.cumsum(lengths_sec, exclusive=True)
    spans_sec = times_at(starts + within, played_sec, lengths_sec) - times_at(starts, played_sec, lengths_sec)
    return tf.where(is_periodic, spans_sec * (periods / within), tf.constant(float("nan"), tf.float64))
