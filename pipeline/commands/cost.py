"""`repcount cost`: estimates machines, hours and dollars of a nightly run on Dataflow, from speeds and prices."""

from __future__ import annotations

import argparse
import dataclasses
import re

from rich import box
from rich.console import Console
from rich.table import Table

from model.presets import DEFAULT_PRESET, PRESETS
from pipeline.command_line import UsageError, positive_whole_number
from pipeline.machines import CORE_DECODE_FPS, GPU_KINDS, GPU_PEAK_SHARE, core_score_fps, cores_of
from pipeline.results_table import print_table

_PACKED_FRAME_BYTES = 8_730
"""Bytes of a compressed frame that is sent to another machine; see `transforms.packing`."""

_GB_PER_CORE = 4.0
"""Memory of the usual machine types, in gigabytes a core."""

_SHUFFLE_TIERS_GB = ((250.0, 0.25), (4870.0, 0.5))
"""A job's first gigabytes of shuffled data, and the share of them that Dataflow bills. It bills all of the rest."""


@dataclasses.dataclass(frozen=True)
class Prices:
    """Dataflow's prices in dollars. The defaults are examples: regions differ, and prices change.

    Attributes:
      gpu_hour: Price of a GPU for an hour.
      core_hour: Price of a virtual processor for an hour.
      gb_hour: Price of a gigabyte of memory for an hour.
      shuffled_gb: Price of a gigabyte that is written to, or read from, the shuffle service, at the full rate.
    """

    gpu_hour: float
    core_hour: float = 0.056
    gb_hour: float = 0.003557
    shuffled_gb: float = 0.011

    def machine_hour(self, cores: float) -> float:
        """Returns the price of a machine's processors and memory for an hour."""
        return cores * (self.core_hour + _GB_PER_CORE * self.gb_hour)

    def shuffle(self, sent_gb: float) -> float:
        """Returns the price of sending data to other machines, which writes them and reads them."""
        left_gb, billed_gb = 2 * sent_gb, 0.0
        for size_gb, share in _SHUFFLE_TIERS_GB:
            billed_gb += min(left_gb, size_gb) * share
            left_gb = max(left_gb - size_gb, 0.0)
        return (billed_gb + left_gb) * self.shuffled_gb


@dataclasses.dataclass(frozen=True)
class Speeds:
    """Speeds in frames a second.

    Attributes:
      core_decode: Frames that one core decodes a second.
      core_score: Frames that one core scores a second.
      gpu_score: Frames that one GPU scores a second.
      gpu_decode: Frames that the video decoders (NVDEC) of one GPU decode a second, all together. None: not known.
    """

    core_decode: float
    core_score: float
    gpu_score: float
    gpu_decode: float | None = None

    @property
    def cores_per_gpu(self) -> float:
        """Number of cores that decode as fast as one GPU scores."""
        return self.gpu_score / self.core_decode


@dataclasses.dataclass(frozen=True)
class Bill:
    """Cost of one placement of the work.

    Attributes:
      name: Name of the placement: "fused", "NVDEC", "split" or "no GPU".
      core_hours: Core-hours summed over all workers.
      gpu_hours: GPU-hours summed over all workers.
      dollars: Price of the whole run.
    """

    name: str
    core_hours: float
    gpu_hours: float
    dollars: float


def bills(frames: float, cores: int, scoring_cores: int, speeds: Speeds, prices: Prices) -> list[Bill]:
    """Returns the cost of decoding and scoring for each placement: fused, NVDEC, split, and without GPUs.

    Fused: every machine decodes and scores. It is as fast as the slower of its cores and its GPU, and both are paid all the
    time. NVDEC: the same, but the video decoders of the GPU decode; left out if their speed is not known. Split: decoding
    machines and scoring machines are each paid for their own time, and so is the data sent between them. No GPU: cores decode
    and score.

    Args:
      frames: Frames of all videos.
      cores: Cores of a machine whose GPU scores what the same machine decodes.
      scoring_cores: Cores of a machine with a GPU, when split.
      speeds: Speeds of cores and GPUs.
      prices: Prices of cores, memory, GPUs and shuffled data.
    """

    def on_one_machine(name: str, decode_fps: float) -> Bill:
        hours = frames / min(decode_fps, speeds.gpu_score) / 3600
        return Bill(name, cores * hours, hours, hours * (prices.machine_hour(cores) + prices.gpu_hour))

    decode_hours, gpu_hours = frames / speeds.core_decode / 3600, frames / speeds.gpu_score / 3600
    sent_gb = frames * _PACKED_FRAME_BYTES / 1e9
    both_hours = decode_hours + frames / speeds.core_score / 3600
    return [
        on_one_machine("fused", cores * speeds.core_decode),
        *([on_one_machine("NVDEC", speeds.gpu_decode)] if speeds.gpu_decode else []),
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
        description="Estimates the cost of a nightly run for each placement: fused, split, without GPUs, and, with "
        "--gpu_decode_fps, decoding by the GPU. Prices are examples: look up those of your region. A core's speeds were "
        "measured with 1080p video on one kind of processor. A GPU's speed is taken from one H100: "
        f"{GPU_PEAK_SHARE:.0%} of its peak, or what its link carries. Exit code: 0; 2 for wrong usage.",
        examples=[
            "repcount cost --videos 200000 --minutes 2 --fps 30",
            "repcount cost --model repnet-2020 --gpu nvidia-tesla-t4 --gpu_hour 0.5 --hours 8",
        ],
    )
    parser.add_argument(
        "--model", choices=list(PRESETS), default=DEFAULT_PRESET, help="model that scores. Default: %(default)s"
    )
    parser.add_argument(
        "--gpu",
        choices=list(GPU_KINDS),
        default="nvidia-l4",
        metavar="TYPE",
        help=f"type of GPU: {', '.join(GPU_KINDS)}. Default: %(default)s",
    )
    for name, kind, default, text in (
        ("videos", _positive, 1_000_000, "videos a night"),
        ("minutes", _positive, 1.0, "length of each video, in minutes"),
        ("fps", _positive, 30.0, "frames a second of each video"),
        ("hours", _positive, 6.0, "hours that the run may take"),
        (
            "cores",
            positive_whole_number,
            None,
            "cores of a machine with a GPU that also decodes. Default: those of the GPU's usual machine",
        ),
        ("decode_fps", _positive, CORE_DECODE_FPS, "frames that a core decodes a second"),
        ("core_score_fps", _positive, None, "frames that a core scores a second. Default: depends on --model"),
        ("gpu_score_fps", _positive, None, "frames that a GPU scores a second. Default: depends on --model and --gpu"),
        (
            "gpu_decode_fps",
            _positive,
            None,
            "frames that all video decoders (NVDEC) of a GPU decode a second. Default: not known, and then not shown",
        ),
        ("core_hour", _positive, Prices.core_hour, "dollars for a core and hour"),
        ("gb_hour", _positive, Prices.gb_hour, "dollars for a gigabyte of memory and hour"),
        ("gpu_hour", _positive, None, f"dollars for a GPU and hour. Default: {_shown_gpu_prices()}; required for other types"),
        ("shuffled_gb", _positive, Prices.shuffled_gb, "dollars for a gigabyte between machines"),
    ):
        shown = "" if default is None else f". Default: {default:,.12g}"
        parser.add_argument(f"--{name}", type=kind, default=default, metavar="N", help=f"{text}{shown}")
    parser.add_argument(
        "--worker_machine_type",
        metavar="TYPE",
        help="machine type of workers with a GPU that also decode, such as g2-standard-32, in place of --cores. Default: none",
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Prints the cost of each placement and returns the exit code; raises UsageError if a price or a machine is not known."""
    gpu = GPU_KINDS[args.gpu]
    cores = args.cores
    if args.worker_machine_type is not None:
        if cores is not None:
            raise UsageError(f"--worker_machine_type leaves no use for --cores. Received: --cores {cores}")
        cores = cores_of(args.worker_machine_type)
        if cores is None or not re.fullmatch(gpu.machine_types, args.worker_machine_type):
            raise UsageError(
                f"--worker_machine_type must be one that has one {args.gpu}, such as {gpu.machine_type}. "
                f"Received: {args.worker_machine_type}"
            )
    gpu_hour = args.gpu_hour or gpu.dollars_per_hour
    if gpu_hour is None:
        raise UsageError(f"--gpu_hour is required for this type of GPU: its price is not known. Received: --gpu {args.gpu}")
    gpu_fps = args.gpu_score_fps or gpu.score_fps(PRESETS[args.model].gflop_per_frame)
    speeds = Speeds(args.decode_fps, args.core_score_fps or core_score_fps(args.model), gpu_fps, args.gpu_decode_fps)
    prices = Prices(gpu_hour, args.core_hour, args.gb_hour, args.shuffled_gb)
    usual_cores = cores_of(gpu.machine_type) or 1
    video_hours = args.videos * args.minutes / 60
    table = Table(box=box.SIMPLE_HEAD)
    for column in ("", "core-hours", "GPU-hours", f"cores for {args.hours:g} h", "GPUs", "dollars", "video-hours a dollar"):
        table.add_column(column, justify="right")
    for bill in bills(video_hours * 3600 * args.fps, cores or usual_cores, usual_cores, speeds, prices):
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
        f"{args.videos:,.0f} videos of {args.minutes:g} min with {args.model}. One core decodes {speeds.core_decode:,.0f} and "
        f"scores {speeds.core_score:,.0f} frames a second. One {args.gpu} scores {speeds.gpu_score:,.0f} frames a second, as "
        f"many as {speeds.cores_per_gpu:,.0f} cores decode."
    )
    print_table(table)
    console.print("Not included: listing, counting and tables, a few per cent; starting workers and idle workers.")
    return 0


def _shown_gpu_prices() -> str:
    prices = {name: gpu.dollars_per_hour for name, gpu in GPU_KINDS.items() if gpu.dollars_per_hour is not None}
    return ", ".join(f"{price:g} for {name}" for name, price in prices.items())


def _positive(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise argparse.ArgumentTypeError(f"must be a positive number. Received: {text!r}")
    return value
