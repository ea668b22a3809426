"""Compares ways of scoring a chunk on this machine, in turns.

    python -m benchmarks.scoring_ways [--model lite] [--frames 384] [--repeats 5]

The ways, each in a process of its own, which waits while another scores:

  plain      `Scorer` without oneDNN, TensorFlow's default on processors without AVX-512
  parts      `Scorer` as workers without a GPU use it
  compiled   `CompiledScorer`, one function by XLA, as workers with a GPU use it

Frames are drawn, and the counts of all ways of `lite` must agree. Ratios are of processor time, which other work on the machine
disturbs less than wall time. With a GPU, look at wall time.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any

from benchmarks.report import print_result
from model.presets import PRESETS

WAYS: Mapping[str, str] = {"plain": "0", "parts": "1", "compiled": "1"}
"""Value of TF_ENABLE_ONEDNN_OPTS, by way."""

COUNT_TOLERANCE = 1e-3
"""Largest difference of two ways' counts."""


def answer(way: str, model: str, num_frames: int) -> None:
    """Prints a line of JSON with seconds and the count for each line of standard input: what the child process does."""
    from model.tensorflow_import import import_tensorflow

    import_tensorflow()
    from benchmarks.inference import draw_frames
    from benchmarks.networks import make_network
    from model.compiled_scoring import CompiledScorer
    from model.counting import count_repetitions
    from model.devices import prepare_gpus
    from model.scoring import Scorer

    prepare_gpus()
    preset = PRESETS[model]
    network = make_network(model)
    scorer = (CompiledScorer if way == "compiled" else Scorer)(network, preset.strides, overlap_from=preset.overlap_from)
    frames = draw_frames(num_frames)
    scorer.score(frames)
    for _ in sys.stdin:
        wall, processor = time.perf_counter(), time.process_time()
        logits = scorer.score(frames)
        result: dict[str, Any] = {"wall": time.perf_counter() - wall, "processor": time.process_time() - processor}
        if not preset.files:
            result["count"] = count_repetitions(logits, num_frames, preset.config.period_offset, preset.counting).count
        print(json.dumps(result), flush=True)


def start(way: str, model: str, num_frames: int) -> subprocess.Popen[str]:
    """Starts the process that scores one way."""
    command = [sys.executable, "-m", "benchmarks.scoring_ways", "--answer", way, "--model", model, "--frames", str(num_frames)]
    environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3", "TF_ENABLE_ONEDNN_OPTS": WAYS[way]}
    return subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, env=environment
    )


def ask(child: subprocess.Popen[str]) -> dict[str, float]:
    """Lets a child score once; returns its answer."""
    if child.stdin is None or child.stdout is None:
        raise ValueError("the child has no pipes")
    child.stdin.write("\n")
    child.stdin.flush()
    line = child.stdout.readline()
    if not line:
        raise SystemExit(f"a way of scoring failed: {child.args!r}")
    answered: dict[str, float] = json.loads(line)
    return answered


def main(argv: Sequence[str] | None = None) -> None:
    """Runs the measurements and prints the results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="lite", choices=sorted(PRESETS), help="Default: lite")
    parser.add_argument("--frames", type=int, default=384, help="frames to score. Default: 384, which `lite` compiles")
    parser.add_argument("--repeats", type=int, default=5, help="turns; medians are reported. Default: 5")
    parser.add_argument("--ways", nargs="+", default=list(WAYS), choices=list(WAYS), help="Default: all")
    parser.add_argument("--answer", choices=list(WAYS), help=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    if args.answer:
        answer(args.answer, args.model, args.frames)
        return
    children = {way: start(way, args.model, args.frames) for way in args.ways}
    answers: dict[str, list[dict[str, float]]] = {way: [] for way in children}
    try:
        for _ in range(args.repeats):
            for way, child in children.items():
                answers[way].append(ask(child))
    finally:
        for child in children.values():
            child.communicate()
    counts = [each["count"] for of_way in answers.values() for each in of_way if "count" in each]
    if counts and max(counts) - min(counts) > COUNT_TOLERANCE:
        raise SystemExit(f"the counts differ: {min(counts)} to {max(counts)}")
    seconds = {
        (way, kind): statistics.median(each[kind] for each in of_way)
        for way, of_way in answers.items()
        for kind in ("processor", "wall")
    }
    results: dict[str, object] = {f"{way}_{kind}_sec": round(value, 3) for (way, kind), value in seconds.items()}
    first = args.ways[0]
    for way in args.ways[1:]:
        ratio = seconds[first, "processor"] / seconds[way, "processor"]
        print(f"{args.model}, {way}: {ratio:.2f} times as many frames per second of processor time as {first}", flush=True)
        results[f"ratio_{way}"] = round(ratio, 3)
    print_result("scoring_ways", model=args.model, frames=args.frames, against=first, **results)


if __name__ == "__main__":
    main()
