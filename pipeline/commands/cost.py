"""What a night costs: machines, hours and dollars for three ways to place the work, from speeds and prices."""

from __future__ import annotations

import argparse
import dataclasses

from rich import box
from rich.console import Console
from rich.table import Table

from model.presets import DEFAULT_PRESET
from pipeline.launch import GPU_KINDS, cores_of
from pipeline.results_table import print_table

GFLOP_PER_FRAME = {"lite": 0.107, "repnet-2020": 2.5, "repnet-2025": 2.5}
"""Arithmetic of the network's frames' part, which is nearly all of it, counted in its graph."""

_PEAK_TFLOPS = {
    "nvidia-l4": 121.0,
    "nvidia-tesla-t4": 65.0,
    "nvidia-tesla-p100": 18.7,
    "nvidia-tesla-v100": 125.0,
    "nvidia-tesla-a100": 312.0,
    "nvidia-a100-80gb": 312.0,
    "nvidia-h100-80gb": 989.0,
}
"""Of dense 16-bit matrices, by their makers' data sheets."""

_GPU_SHARE = 0.1
"""Share of its peak that a GPU is taken to reach, until it is measured: `python -m benchmarks.devices` on a GPU tells."""

_CORE_SCORE_FPS = {"lite": 318.0, "repnet-2020": 20.0, "repnet-2025": 20.0}
"""Frames a second and core in float32 with AVX2; see docs/performance.md."""

_CORE_DECODE_FPS = 112.0
"""Frames a second and core of 1080p H.264; see docs/performance.md. Of 720p it is 295, of 360p 750."""

_PACKED_FRAME_BYTES = 8_730
"""Of a frame on its way to another machine; see `transforms.packing`."""

_GB_PER_CORE = 4.0
"""Memory of the usual machine types."""

_SHUFFLE_TIERS_GB = ((250.0, 0.25), (4870.0, 0.5))
"""Gigabytes of a job's shuffled data, and the share of them that is billed; all of the rest is. See Dataflow's price list."""


@dataclasses.dataclass(frozen=True)
class Prices:
    """What Dataflow charges, in dollars; regions differ, and prices change.

    Attributes:
      core_hour: for a virtual processor.
      gb_hour: for a gigabyte of memory.
      gpu_hour: for a GPU.
      shuffled_gb: for a gigabyte that is written to the shuffle service or read from it, beyond the first ones of a job.
    """

    core_hour: float = 0.056
    gb_hour: float = 0.003557
    gpu_hour: float = 0.67
    shuffled_gb: float = 0.011

    def machine_hour(self, cores: float) -> float:
        """Of a machine's processors and memory."""
        return cores * (self.core_hour + _GB_PER_CORE * self.gb_hour)

    def shuffle(self, sent_gb: float) -> float:
        """Of data on their way to other machines: they are written, and read."""
        left_gb, billed_gb = 2 * sent_gb, 0.0
        for size_gb, share in _SHUFFLE_TIERS_GB:
            billed_gb += min(left_gb, size_gb) * share
            left_gb = max(left_gb - size_gb, 0.0)
        return (billed_gb + left_gb) * self.shuffled_gb


@dataclasses.dataclass(frozen=True)
class Speeds:
    """Frames a second.

    Attributes:
      core_decode: of one core that decodes.
      core_score: of one core that scores.
      gpu_score: of one GPU that scores.
    """

    core_decode: float
    core_score: float
    gpu_score: float

    @property
    def cores_per_gpu(self) -> float:
        """Cores that decode as fast as a GPU scores."""
        return self.gpu_score / self.core_decode


@dataclasses.dataclass(frozen=True)
class Bill:
    """What one way to place the work takes.

    Attributes:
      name: of the way.
      core_hours: of all machines.
      gpu_hours: of all GPUs.
      dollars: for all.
    """

    name: str
    core_hours: float
    gpu_hours: float
    dollars: float


def bills(frames: float, cores: int, scoring_cores: int, speeds: Speeds, prices: Prices) -> list[Bill]:
    """Returns what it takes to decode and score so many frames: fused, split, and without GPUs.

    Fused, a machine is as fast as the slower of its cores that decode and its GPU that scores, and both are paid for all the
    time. Split, each is paid for its own time, and for frames on their way. Without GPUs, cores do both.

    Args:
      frames: of all videos.
      cores: of a machine with a GPU, where it is fused.
      scoring_cores: of one, where it is split.
      speeds: of each.
      prices: of each.
    """
    fused_hours = frames / min(cores * speeds.core_decode, speeds.gpu_score) / 3600
    decode_hours, gpu_hours = frames / speeds.core_decode / 3600, frames / speeds.gpu_score / 3600
    sent_gb = frames * _PACKED_FRAME_BYTES / 1e9
    both_hours = decode_hours + frames / speeds.core_score / 3600
    return [
        Bill("fused", cores * fused_hours, fused_hours, fused_hours * (prices.machine_hour(cores) + prices.gpu_hour)),
        Bill(
            "split",
            decode_hours + scoring_cores * gpu_hours,
            gpu_hours,
            prices.machine_hour(decode_hours)
            + gpu_hours * (prices.machine_hour(scoring_cores) + prices.gpu_hour)
            + prices.shuffle(sent_gb),
        ),
        Bill("no GPU", both_hours, 0.0, prices.machine_hour(both_hours)),
    ]


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `cost` to the commands."""
    parser = subparsers.add_parser(
        "cost",
        help="work out machines, hours and dollars of a night on Dataflow",
        description="Works out what a night takes in three ways: fused, split, and without GPUs. Prices are examples: look up "
        "those of your region. Speeds are those measured for 1080p on one kind of processor; that of a GPU is its arithmetic, "
        "of which a tenth is taken to be reached, until it is measured.",
    )
    for name, kind, default, text in (
        ("videos", _positive, 1_000_000, "videos a night"),
        ("minutes", _positive, 1.0, "minutes of each"),
        ("fps", _positive, 30.0, "frames a second of each"),
        ("hours", _positive, 6.0, "hours that the night has"),
        ("cores", _positive_whole, None, "cores of a machine with a GPU, where fused. Default: those of the type's usual one"),
        ("decode_fps", _positive, _CORE_DECODE_FPS, "frames that a core decodes a second"),
        ("core_score_fps", _positive, None, "frames that a core scores a second. Default: by --model"),
        ("gpu_score_fps", _positive, None, "frames that a GPU scores a second. Default: by --model and --gpu"),
        ("core_hour", _positive, Prices.core_hour, "dollars for a core"),
        ("gb_hour", _positive, Prices.gb_hour, "dollars for a gigabyte of memory"),
        ("gpu_hour", _positive, Prices.gpu_hour, "dollars for a GPU"),
        ("shuffled_gb", _positive, Prices.shuffled_gb, "dollars for a gigabyte between machines"),
    ):
        shown = "" if default is None else f". Default: {default:,.12g}"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text}{shown}")
    parser.add_argument("--model", choices=sorted(GFLOP_PER_FRAME), default=DEFAULT_PRESET, help="Default: %(default)s")
    parser.add_argument("--gpu", choices=sorted(GPU_KINDS), default="nvidia-l4", help="Default: %(default)s")
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Prints the three bills; returns the exit code."""
    gpu_fps = args.gpu_score_fps or _GPU_SHARE * _PEAK_TFLOPS[args.gpu] * 1000 / GFLOP_PER_FRAME[args.model]
    speeds = Speeds(args.decode_fps, args.core_score_fps or _CORE_SCORE_FPS[args.model], gpu_fps)
    prices = Prices(args.core_hour, args.gb_hour, args.gpu_hour, args.shuffled_gb)
    usual_cores = cores_of(GPU_KINDS[args.gpu].machine_type) or 1
    video_hours = args.videos * args.minutes / 60
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "core-hours", "GPU-hours", f"cores for {args.hours:g} h", "GPUs", "dollars", "video-hours a dollar"):
        table.add_column(column, justify="right")
    for bill in bills(video_hours * 3600 * args.fps, args.cores or usual_cores, usual_cores, speeds, prices):
        table.add_row(
            bill.name,
            f"{bill.core_hours:,.0f}",
            f"{bill.gpu_hours:,.1f}",
            f"{bill.core_hours / args.hours:,.0f}",
            f"{bill.gpu_hours / args.hours:,.1f}",
            f"{bill.dollars:,.2f}",
            f"{video_hours / bill.dollars:,.0f}",
        )
    console = Console(highlight=False)
    console.print(
        f"{args.videos:,.0f} videos of {args.minutes:g} min with {args.model}: a core decodes {speeds.core_decode:,.0f} frames "
        f"a second and scores {speeds.core_score:,.0f}; one {args.gpu} scores {speeds.gpu_score:,.0f}, which takes "
        f"{speeds.cores_per_gpu:,.0f} cores to feed."
    )
    print_table(table)
    console.print("Without listing, counting and tables, which take a few per cent, and without starting and idle machines.")
    return 0


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text!r}")
    return value


def _positive_whole(text: str) -> int:
    if not (text.isascii() and text.isdigit() and int(text)):
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1. Received: {text!r}")
    return int(text)
