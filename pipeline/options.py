"""The options that every command with a model has: model, decoding and counting, and the frozen configurations they become."""

from __future__ import annotations

import argparse
import dataclasses
import platform
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from model import storage
from model.config import WINDOW_FRAMES
from model.counting_options import CountingOptions, StrideRule
from model.logits import chunk_frames
from model.precision import PRECISIONS, Precision
from model.presets import DEFAULT_PRESET, PRESETS, ModelFacts
from pipeline.command_line import UsageError, natural_number, number, positive_whole_number
from pipeline.launch import GPU_BATCH_FRAMES
from transforms.decoding import sandbox
from transforms.decoding.gpus import CONTROL_DEVICE, has_nvidia_gpu
from transforms.decoding.options import DECODERS, DecodingOptions
from transforms.defaults import default_options
from transforms.matching import ALL_SUFFIXES, VIDEO_SUFFIXES
from transforms.scoring import ModelConfig

if TYPE_CHECKING:
    from transforms.warehouse.base import Warehouse

_SUFFIX = re.compile(r"\.?[^./,\s][^/,\s]*")

MAX_CHUNK_FRAMES = 24 * WINDOW_FRAMES
"""Most frames in a chunk: 58 MB of frames, and half a gigabyte of the published network's activations."""


def add_model_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the model, for decoding and for counting."""
    _add_network_options(parser.add_argument_group("model"))
    _add_decoding_options(parser.add_argument_group("decoding"))
    _add_counting_options(parser.add_argument_group("counting"))


def add_export_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for the model, for decoding and for counting that an exported model has inside."""
    group = parser.add_argument_group("model")
    _add_strides(group)
    _add_frame_rates(group)
    _add_counting_options(parser.add_argument_group("counting"))


def add_listing_options(group: argparse._ArgumentGroup) -> None:
    """Adds the options that say which names are videos, and who pays for their bucket."""
    group.add_argument(
        "--suffixes",
        type=_suffixes,
        metavar=".SUFFIX[,…]",
        help="ends of the names that count as videos, in any case; a file named without a wildcard is read whatever its name. "
        f"Default: {' '.join(VIDEO_SUFFIXES)}",
    )
    group.add_argument(
        "--all_files",
        action="store_true",
        help="count every file that the inputs match, whatever its suffix; trash and companions such as ._x.mov stay left out. "
        "Default: off",
    )
    add_billing_project(group)


def add_billing_project(group: argparse._ActionsContainer) -> None:
    """Adds `--billing_project`."""
    group.add_argument(
        "--billing_project",
        type=_project,
        metavar="PROJECT",
        help='ID of the project that pays for listing and reading "requester pays" buckets. Default: the bucket\'s own',
    )


def make_suffixes(args: argparse.Namespace) -> tuple[str, ...]:
    """Returns the suffixes that make a name a video; raises UsageError if the options contradict each other."""
    if args.all_files and args.suffixes:
        raise UsageError(f"--all_files leaves no use for --suffixes. Received: {','.join(args.suffixes)}")
    return ALL_SUFFIXES if args.all_files else args.suffixes or VIDEO_SUFFIXES


def label_regex(text: str) -> str:
    """Returns the value of `--label_regex`; raises ArgumentTypeError."""
    from transforms.warehouse.name_labels import check_regex  # imports PyArrow, for which --help need not wait

    try:
        return check_regex(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _suffixes(text: str) -> tuple[str, ...]:
    suffixes = [word.strip().lower() for word in text.split(",")]
    wrong = [suffix for suffix in suffixes if not _SUFFIX.fullmatch(suffix)]
    if wrong:
        raise argparse.ArgumentTypeError(f"must be ends of names such as .mp4,.mov. Received: {text!r}")
    return tuple(f".{suffix.removeprefix('.')}" for suffix in suffixes)


def _project(text: str) -> str:
    if not storage.PROJECT_ID.fullmatch(text) and not text.isdigit():  # Cloud Storage takes a project's number, too
        raise argparse.ArgumentTypeError(
            f"must be the ID of a project, of {storage.PROJECT_ID_RULE}, such as my-project. Received: {text!r}"
        )
    return text


def _add_network_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--model",
        default=DEFAULT_PRESET,
        metavar="NAME|PATH",
        help=f"{', '.join(PRESETS)}, or the path of a weights file or checkpoint. Default: %(default)s",
    )
    group.add_argument(
        "--precision",
        choices=("auto", *PRECISIONS),
        default="auto",
        help="number format of the network. auto: the best for --gpu; without it, the fastest on the processor that keeps the "
        "counts: int8 for lite, or bfloat16 if there are instructions to multiply its matrices, else float32. "
        "Default: %(default)s",
    )
    group.add_argument(
        "--batch_frames",
        type=positive_whole_number,
        metavar="FRAMES",
        help="batch size of the network in frames; halved when memory runs out. Default: "
        f"{ModelConfig.batch_frames}, or {GPU_BATCH_FRAMES} with --gpu",
    )
    group.add_argument(  # the former name of --batch_frames
        "--frames_at_once",
        dest="batch_frames",
        type=positive_whole_number,
        default=argparse.SUPPRESS,
        help=argparse.SUPPRESS,
    )
    group.add_argument(
        "--require_gpu", action="store_true", help="fail if there is no GPU to score with. Default: off, or on with --gpu"
    )
    _add_strides(group)


def _add_strides(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--strides",
        type=_whole_numbers,
        metavar="N[,N…]",
        help="strides to score, in frames between the positions of a window; --stride_rule decides which of them count. "
        "Default: those of the model",
    )
    group.add_argument(
        "--overlap_from",
        type=natural_number,
        metavar="N",
        help="stride from which on windows overlap by half. That takes longer; the vote of lite is better for it. 0: none do. "
        "Default: that of the model",
    )


def _add_frame_rates(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--max_fps",
        type=number,
        default=DecodingOptions.max_fps,
        metavar="HZ",
        help="maximum number of frames per second to score; frames above it are dropped. Default: %(default)g",
    )
    group.add_argument(
        "--repeat_below_fps",
        type=number,
        metavar="HZ",
        help="frames per second below which the network is shown each frame several times, as if the video had about 30. "
        "0: never. Default: that of the model",
    )


def _add_decoding_options(group: argparse._ArgumentGroup) -> None:
    _add_frame_rates(group)
    group.add_argument(
        "--exact_decoding",
        action="store_true",
        help="decode every frame as its codec's standard says, even if --max_fps drops it, and resize colours in two steps. It "
        "takes up to half as long again; counts of real clips changed by less than 0.01. Default: off",
    )
    group.add_argument(
        "--decoder",
        choices=DECODERS,
        default=DecodingOptions.decoder,
        help="where to decode. cpu: on the processor. auto: on an NVIDIA GPU if there is one, and what that cannot decode, on "
        "the processor. nvdec: as auto, and refuse to start without such a GPU. Default: %(default)s",
    )
    for name, kind, metavar, text in (
        ("max_bytes", natural_number, "BYTES", "largest file to read, in bytes; a larger one fails as TOO_LARGE"),
        ("max_sec", number, "SEC", "longest video to count, in seconds; a longer one fails as TOO_LONG"),
        ("max_frames", natural_number, "FRAMES", "most frames of a video to count; a video with more fails as TOO_LONG"),
        ("max_pixels", natural_number, "PIXELS", "largest frame to decode, in pixels; a larger one fails as TOO_LARGE"),
        ("timeout_sec", number, "SEC", "seconds to wait for the next frame; after that the video fails as DECODE_TIMEOUT"),
    ):
        default = getattr(DecodingOptions, name)
        group.add_argument(f"--{name}", type=kind, default=default, metavar=metavar, help=f"{text}. Default: {default:,.12g}")
    group.add_argument(
        "--max_memory_bytes",
        type=natural_number,
        metavar="BYTES",
        help="memory limit for decoding one video, in bytes. Default: half of the machine's memory divided by its cores, but "
        "from 1 to 4 GiB",
    )
    group.add_argument(
        "--require_sandbox",
        action="store_true",
        help="fail where system calls of the decoder cannot be filtered; see docs/security.md. Default: off",
    )


def _add_counting_options(group: argparse._ArgumentGroup) -> None:
    group.add_argument(
        "--stride_rule",
        choices=[rule.value for rule in StrideRule],
        help="how strides are combined. real_frames: the stride with the best score over real frames counts. notebook: the "
        "same, with padded frames included, as in the authors' notebook. vote: all strides vote. Default: that of the model",
    )
    group.add_argument(
        "--video_threshold",
        type=number,
        metavar="0..1",
        help="minimum confidence of a video; below it the count is 0. Default: that of the model",
    )
    group.add_argument(
        "--frame_threshold",
        type=number,
        metavar="0..1",
        help='minimum periodicity of a frame that counts. With --stride_rule=vote, the score given to "not repeating"; a '
        "higher one counts fewer repetitions. Default: that of the model",
    )
    group.add_argument(
        "--peak_share",
        type=number,
        metavar="0..1",
        help="minimum periodicity of a frame that counts, as a share of the highest in the video. Default: that of the model",
    )
    group.add_argument(
        "--constant_speed", action="store_true", default=None, help="use one period for the whole video. Default: off"
    )
    group.add_argument(
        "--fully_periodic", action="store_true", default=None, help="count every frame, repeating or not. Default: off"
    )


def check_sandbox(args: argparse.Namespace) -> None:
    """Raises UsageError if `--require_sandbox` asks for a sandbox that this machine does not have."""
    if args.require_sandbox and not sandbox.has_seccomp():
        raise UsageError(
            "--require_sandbox needs a system that can filter system calls (seccomp): Linux on x86-64 or ARM64. "
            f"Received: {platform.system()} on {platform.machine()}, without it"
        )


def check_decoder(args: argparse.Namespace) -> None:
    """Raises UsageError if `--decoder nvdec` asks for what this machine or the installed FFmpeg does not have."""
    if args.decoder != "nvdec":
        return
    if not has_nvidia_gpu():
        raise UsageError(
            f"--decoder nvdec needs a machine with an NVIDIA GPU and its driver. Received: a machine without {CONTROL_DEVICE}"
        )
    from transforms.decoding.nvdec import CODECS, has_decoders  # FFmpeg, which others need not wait for

    if not has_decoders():
        raise UsageError(
            f"--decoder nvdec needs PyAV with FFmpeg's decoders {', '.join(CODECS.values())}, which its wheels for Linux on "
            "x86-64 have. Received: PyAV without them"
        )


def make_decoding(args: argparse.Namespace, strides: Sequence[int], facts: ModelFacts) -> DecodingOptions:
    """Returns the decoding options, with chunks that fit the strides; raises UsageError."""
    _, decoding, _ = default_options(args.model, facts, strides)
    given = args.repeat_below_fps
    try:
        limits = ("max_bytes", "max_sec", "max_frames", "max_pixels", "timeout_sec", "max_memory_bytes")
        return dataclasses.replace(
            decoding,
            repeat_below_fps=decoding.repeat_below_fps if given is None else given,
            require_sandbox=args.require_sandbox,
            billing_project=getattr(args, "billing_project", None),  # not for commands that read local files only
            exact=args.exact_decoding,
            **{name: getattr(args, name) for name in ("max_fps", "decoder", *limits)},
        )
    except ValueError as error:
        raise UsageError(str(error)) from error


def make_model(args: argparse.Namespace, facts: ModelFacts) -> ModelConfig:
    """Returns the model with its strides and precision; raises UsageError."""
    strides = args.strides or facts.preset.strides
    if min(strides) < 1 or len(set(strides)) != len(strides):
        raise UsageError(f"--strides must be different whole numbers of at least 1. Received: {','.join(map(str, strides))}")
    if chunk_frames(strides) > MAX_CHUNK_FRAMES:
        raise UsageError(
            f"--strides must have a least common multiple of at most {MAX_CHUNK_FRAMES // WINDOW_FRAMES}, since a chunk "
            f"holds that many windows. Received: {','.join(map(str, strides))}"
        )
    if args.precision == Precision.INT8 and facts.activation_ranges is None:
        raise UsageError(
            f"--precision int8 needs a model whose weights file has activation ranges, such as lite. Received: {args.model}"
        )
    if args.precision == Precision.INT8 and args.require_gpu:
        raise UsageError("--precision int8 is for processors. Received: --require_gpu")
    model, _, _ = default_options(args.model, facts, strides)
    return dataclasses.replace(
        model,
        precision=model.precision if args.precision == "auto" else args.precision,
        batch_frames=args.batch_frames or model.batch_frames,
        overlap_from=model.overlap_from if args.overlap_from is None else args.overlap_from,
        require_gpu=args.require_gpu,
    )


def make_counting(args: argparse.Namespace, facts: ModelFacts) -> CountingOptions:
    """Returns the counting options: those of the model, with those on the command line in their place; raises UsageError."""
    names = ("stride_rule", "video_threshold", "frame_threshold", "peak_share", "constant_speed", "fully_periodic")
    given = {name: getattr(args, name) for name in names if getattr(args, name) is not None}
    try:
        return dataclasses.replace(facts.preset.counting, **given)
    except ValueError as error:
        raise UsageError(str(error)) from error


def effective_options(decoding: DecodingOptions, model: ModelConfig, counting: CountingOptions) -> dict[str, Any]:
    """Returns the options that decide a video's numbers, by name; all values fit into JSON.

    Precision is not among them. A change of hardware is no reason to count again.
    """
    of_counting = dataclasses.asdict(counting)
    if not counting.certainty:  # as below
        del of_counting["certainty"]
    options: dict[str, Any] = {
        "counting": of_counting,
        "max_fps": decoding.max_fps,
        "strides": model.strides,
        "model_sha256": model.sha256,
    }
    if model.overlap_from:  # rows from before there was such an option still match
        options["overlap_from"] = model.overlap_from
    if decoding.repeat_below_fps:  # as above
        options["repeat_below_fps"] = decoding.repeat_below_fps
    if decoding.exact:  # as above
        options["exact"] = True
    return options


def make_warehouse(output: str, temp_location: str | None) -> Warehouse:
    """Returns the tables that `--output` names; raises UsageError.

    Args:
      output: Value of `--output`.
      temp_location: `gs://` folder that BigQuery loads rows from. "" if no rows will be written.
    """
    from transforms.warehouse.open import open_warehouse  # imports Beam, DuckDB and Google's clients, which takes seconds

    try:
        return open_warehouse(output, temp_location)
    except ValueError as error:
        raise UsageError(str(error)) from error


def _whole_numbers(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(","))
    except ValueError:
        raise argparse.ArgumentTypeError(
            f"must be whole numbers separated by commas, such as 1,2,4. Received: {text!r}"
        ) from None
