"""Compares our scoring with the authors' notebook's, on the same network, frames and machine.

    python -m benchmarks.inference [--seconds 10 180] [--repeats 3] [--precisions float32 bfloat16]

The notebook's method: each stride separately, windows in batches of 20 with a padded last batch, float32, a plain 3-D
convolution, compiled with `tf.function`. Ours: `model.scoring.Scorer` in float32 and bfloat16. Both use oneDNN. Both count by
the notebook's rule, and the counts must agree. Weights are made up, since the time does not depend on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as model.tensorflow_import

import numpy as np
import tensorflow as tf

from benchmarks.networks import make_network
from benchmarks.report import median_sec, print_result
from model.config import FRAME_SIZE, REPNET_2020, TAP_REACH, WINDOW_FRAMES
from model.counting import Counted, count_repetitions
from model.counting_options import CountingOptions, StrideRule
from model.logits import StrideLogits
from model.network import RepNet
from model.precision import Precision
from model.scoring import Scorer
from tests.reference.synthetic_clip import synthetic_clip

STRIDES = (1, 2, 3, 4)
FPS = 30
RULE = CountingOptions(stride_rule=StrideRule.NOTEBOOK, video_threshold=0.0, frame_threshold=0.1, batch_windows=20)

_COUNT_TOLERANCE = {Precision.FLOAT32: 1e-4, Precision.BFLOAT16: 0.05}
"""Largest relative difference from the notebook's count, by number format."""


def draw_frames(num_frames: int) -> np.ndarray:
    """Returns (num_frames, 112, 112, 3) uint8 RGB: a disc that circles once every 12 frames."""
    return synthetic_clip(2, 12, 12.0)[np.arange(num_frames) % 12]


class NotebookScorer:
    """Scores as the notebook does: each stride separately, in whole batches of windows."""

    def __init__(self, network: RepNet, rule: CountingOptions) -> None:
        self._network = network
        self._batch_windows = rule.batch_windows
        self._rule = rule
        self._score_batch = tf.function(
            self._score, input_signature=[tf.TensorSpec((None, WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3), tf.float32)]
        )

    def _score(self, windows: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        network = self._network
        features = network.encode(tf.reshape(windows, (-1, FRAME_SIZE, FRAME_SIZE, 3)))
        features = tf.reshape(features, (-1, WINDOW_FRAMES, *features.shape[1:]))
        convolved = tf.nn.convolution(features, network.temporal.kernel.value, padding="SAME", dilations=(TAP_REACH, 1, 1))
        normed = network.temporal.norm(convolved + network.temporal.bias, training=False)
        return network.heads(tf.reduce_max(tf.nn.relu(normed), axis=(2, 3)))

    def warm_up(self) -> None:
        """Traces and compiles the network on one batch."""
        self._score_batch(tf.zeros((self._batch_windows, WINDOW_FRAMES, FRAME_SIZE, FRAME_SIZE, 3)))

    def count(self, frames: np.ndarray) -> Counted:
        """Scores frames (n, 112, 112, 3) uint8 RGB at all strides and counts."""
        logits = {}
        for stride in STRIDES:
            real_windows = -(-len(frames) // (WINDOW_FRAMES * stride))
            batches = -(-real_windows // self._batch_windows)
            period, periodicity = [], []
            for batch in range(batches):
                first = batch * self._batch_windows * WINDOW_FRAMES
                positions = np.arange(first, first + self._batch_windows * WINDOW_FRAMES)
                shown = frames[np.minimum(positions * stride, len(frames) - 1)].astype(np.float32)
                scores = self._score_batch(tf.constant(shown.reshape(-1, WINDOW_FRAMES, *shown.shape[1:])))
                period.append(scores[0].numpy())
                periodicity.append(scores[1].numpy())
            all_period, all_periodicity = np.concatenate(period), np.concatenate(periodicity)
            has_padding = len(all_period) > real_windows
            logits[stride] = StrideLogits(
                all_period[:real_windows].reshape(-1, all_period.shape[-1]),
                all_periodicity[:real_windows].ravel(),
                all_period[-1] if has_padding else None,
                all_periodicity[-1] if has_padding else None,
            )
        return count_repetitions(logits, len(frames), REPNET_2020.period_offset, self._rule)


def count_with(scorer: Scorer, frames: np.ndarray, rule: CountingOptions) -> Counted:
    """Scores frames (n, 112, 112, 3) uint8 RGB with our scorer and counts."""
    return count_repetitions(scorer.score(frames), len(frames), REPNET_2020.period_offset, rule)


def matrix_rate_flops(precision: Precision) -> float:
    """Returns the floating-point operations a second of a large matrix product on this machine."""
    size = 2048
    matrix = tf.cast(tf.random.normal((size, size)), precision.value)
    multiply = tf.function(lambda: tf.matmul(matrix, matrix))
    multiply()
    return 2 * size**3 / median_sec(multiply, 15)[0]


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--seconds", type=int, nargs="+", default=[10, 180], help="lengths of the clips, in seconds. Default: 10 180"
    )
    parser.add_argument(
        "--repeats",
        type=int,
        default=3,
        help="runs of each method; ours runs at least 3 times. Default: 3",
    )
    parser.add_argument(
        "--batch_windows",
        type=int,
        default=RULE.batch_windows,
        help="windows in a batch of the notebook's method. Default: %(default)s, as the notebook",
    )
    parser.add_argument(
        "--precisions",
        nargs="+",
        default=["float32", "bfloat16"],
        choices=[precision.value for precision in _COUNT_TOLERANCE],
        help="number formats of ours. Default: float32 bfloat16",
    )
    args = parser.parse_args(argv)
    network = make_network("repnet-2020")
    rule = dataclasses.replace(RULE, batch_windows=args.batch_windows)
    theirs = NotebookScorer(network, rule)
    scorers = {precision: Scorer(network, STRIDES, precision) for precision in map(Precision, args.precisions)}
    rates = {precision.value: matrix_rate_flops(precision) for precision in scorers}
    theirs.warm_up()
    for scorer in scorers.values():
        count_with(scorer, draw_frames(127), rule)

    results: dict[str, object] = {f"matrix_gflops_{name}": round(rate / 1e9) for name, rate in rates.items()}
    for seconds in args.seconds:
        frames = draw_frames(seconds * FPS)
        their_sec, expected = median_sec(lambda: theirs.count(frames), args.repeats)  # noqa: B023
        print(f"{seconds} s: the notebook's method {their_sec:.2f} s, count {expected.count:.3f}", flush=True)
        results[f"notebook_{seconds}s_sec"] = round(their_sec, 3)
        for precision, scorer in scorers.items():
            our_sec, counted = median_sec(lambda: count_with(scorer, frames, rule), max(3, args.repeats))  # noqa: B023
            share = len(frames) * REPNET_2020.gflop_per_frame * 1e9 / our_sec / rates[precision.value]
            difference = abs(counted.count - expected.count)
            print(
                f"{seconds} s: ours {precision.value} {our_sec:.2f} s, ratio {their_sec / our_sec:.1f}, "
                f"{share:.0%} of the matrix rate, count {counted.count:.3f}",
                flush=True,
            )
            results |= {
                f"ours_{precision.value}_{seconds}s_sec": round(our_sec, 3),
                f"ratio_{precision.value}_{seconds}s": round(their_sec / our_sec, 1),
                f"matrix_share_{precision.value}_{seconds}s": round(share, 2),
                f"count_difference_{precision.value}_{seconds}s": round(difference, 4),
            }
            if counted.stride != expected.stride or difference > _COUNT_TOLERANCE[precision] * expected.count:
                raise SystemExit(
                    f"the counts differ: {counted.count} at {precision.value}, {expected.count} by the notebook's method"
                )
    print_result("inference", **results)


if __name__ == "__main__":
    main()
