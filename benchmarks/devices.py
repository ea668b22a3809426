"""Scoring on this machine's device: frames a second by model, number format and frames at once, against its matrix rate.

    python -m benchmarks.devices [--models lite repnet-2020] [--precisions float32 bfloat16] [--batch_frames 64 256]

Uses the GPU if there is one, and says so. Weights are made up: the time does not depend on them. The share is that which
the network's arithmetic reaches of the rate of a large matrix product in the same format. `repcount cost` takes the figures
as --core_score_fps (divided by the cores) or --gpu_score_fps.
"""

from __future__ import annotations

import argparse
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import numpy as np
import tensorflow as tf

from benchmarks.inference import matrix_rate_flops
from benchmarks.report import median_sec, print_result
from model.config import FRAME_SIZE
from model.devices import prepare_gpus
from model.network import RepNet
from model.precision import Precision
from model.presets import PRESETS
from model.scoring import Scorer
from pipeline.commands.cost import GFLOP_PER_FRAME


def device_name() -> str:
    """Returns what scores: a GPU's name, or the processor."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return "processor"
    return str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", "GPU"))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", nargs="+", default=["lite", "repnet-2020"], choices=sorted(PRESETS))
    parser.add_argument("--precisions", nargs="+", default=["float32", "bfloat16"], choices=[kind.value for kind in Precision])
    parser.add_argument("--batch_frames", type=int, nargs="+", default=[64, 256])
    parser.add_argument("--frames", type=int, default=1536, help="that are scored. Default: 1536")
    parser.add_argument("--repeats", type=int, default=3, help="of each, of which the median counts. Default: 3")
    args = parser.parse_args()
    prepare_gpus()
    device = device_name()
    print(f"device: {device}")
    frames = np.random.default_rng(0).integers(0, 256, (args.frames, FRAME_SIZE, FRAME_SIZE, 3)).astype(np.uint8)
    results: list[dict[str, object]] = []
    for precision in map(Precision, args.precisions):
        rate = matrix_rate_flops(precision)
        for model in args.models:
            network = RepNet(PRESETS[model].config)
            for batch_frames in args.batch_frames:
                scorer = Scorer(network, PRESETS[model].strides, precision, batch_frames)
                scorer.score(frames)
                sec, _ = median_sec(lambda: scorer.score(frames), args.repeats)  # noqa: B023
                fps = args.frames / sec
                share = fps * GFLOP_PER_FRAME[model] * 1e9 / rate
                what = f"{model} {precision.value}, {batch_frames} at once"
                print(f"{what}: {fps:,.0f} frames/s, {share:.0%} of {rate / 1e9:,.0f} GFLOP/s", flush=True)
                results.append(
                    {
                        "model": model,
                        "precision": precision.value,
                        "batch_frames": batch_frames,
                        "frames_per_sec": round(fps, 1),
                        "share_of_matrix_rate": round(share, 3),
                    }
                )
    print_result("devices", device=device, results=results)


if __name__ == "__main__":
    main()
