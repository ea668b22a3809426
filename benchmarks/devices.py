"""Measures scoring on this machine: frames a second by model, number format and batch size, and the share of the matrix rate.

    python -m benchmarks.devices [--models lite repnet-2020] [--precisions float32 bfloat16] [--batch_frames 128 256]

Uses the GPU if there is one, else the processor. The share compares the network's arithmetic with the rate of a large matrix
product in the same number format. Both are measured in turns, since other work on the machine changes both. In int8 there is no
share, since TensorFlow has no such product; models without activation ranges are left out. Pass the figures to
`repcount cost`: a GPU's as --gpu_score_fps, a processor's, divided by its cores, as --core_score_fps.
"""

from __future__ import annotations

import argparse
import os
import statistics
from collections.abc import Sequence

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as model.tensorflow_import

import numpy as np
import tensorflow as tf

from benchmarks.inference import matrix_rate_flops
from benchmarks.networks import activation_ranges, make_network
from benchmarks.report import median_sec, print_result
from model.config import FRAME_SIZE
from model.devices import prepare_gpus
from model.precision import PRECISIONS, Precision
from model.presets import PRESETS
from model.scoring import Scorer


def device_name() -> str:
    """Returns the name of the GPU that scores, or "processor"."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "processor"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--models", nargs="+", default=["lite", "repnet-2020"], choices=sorted(PRESETS), help="Default: lite repnet-2020"
    )
    parser.add_argument(
        "--precisions", nargs="+", default=["float32", "bfloat16"], choices=PRECISIONS, help="Default: float32 bfloat16"
    )
    parser.add_argument(
        "--batch_frames", type=int, nargs="+", default=[128, 256], help="batch sizes in frames. Default: 128 256"
    )
    parser.add_argument("--frames", type=int, default=1536, help="number of frames to score. Default: 1536")
    parser.add_argument("--repeats", type=int, default=5, help="turns of each case; medians are reported. Default: 5")
    args = parser.parse_args(argv)
    prepare_gpus()
    device = device_name()
    print(f"device: {device}")
    frames = np.random.default_rng(0).integers(0, 256, (args.frames, FRAME_SIZE, FRAME_SIZE, 3)).astype(np.uint8)
    results: list[dict[str, object]] = []
    for precision in map(Precision, args.precisions):
        for model in args.models:
            ranges = activation_ranges(model)
            if precision is Precision.INT8 and ranges is None:
                print(f"{model} {precision.value} is left out: the model has no activation ranges", flush=True)
                continue
            network, preset = make_network(model), PRESETS[model]
            for batch_frames in args.batch_frames:
                scorer = Scorer(network, preset.strides, precision, batch_frames, preset.overlap_from, ranges)
                scorer.score(frames)
                turns = []
                for _ in range(args.repeats):
                    rate = None if precision is Precision.INT8 else matrix_rate_flops(precision)
                    turns.append((median_sec(lambda: scorer.score(frames), 1)[0], rate))  # noqa: B023
                fps = args.frames / statistics.median(sec for sec, _ in turns)
                case = {
                    "model": model,
                    "precision": precision.value,
                    "batch_frames": batch_frames,
                    "frames_per_sec": round(fps, 1),
                }
                frames_gflop = args.frames * preset.gflop_per_frame
                if shares := [frames_gflop * 1e9 / sec / rate for sec, rate in turns if rate]:
                    case["share_of_matrix_rate"] = round(statistics.median(shares), 3)
                shown = f", {case['share_of_matrix_rate']:.0%} of the matrix rate" if shares else ""
                print(f"{model} {precision.value}, batches of {batch_frames}: {fps:,.0f} frames/s{shown}", flush=True)
                results.append(case)
    print_result("devices", device=device, results=results)


if __name__ == "__main__":
    main()
