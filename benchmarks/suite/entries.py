"""The benchmarks that `python -m benchmarks` runs, in order, each small enough that all fit in 30 minutes on two cores."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from benchmarks.suite.comparison import Comparison, Ratio, figure, inverse, quotient, scaled


@dataclasses.dataclass(frozen=True)
class Entry:
    """A benchmark with the arguments that it is run with.

    Attributes:
      name: Name for `--only`, for the file of figures and for blocks in the documentation.
      arguments: What follows `python -m benchmarks.`: the module, then its options.
      comparisons: What it measures, against what, as rows of the page.
      needs_bfloat16: Whether it is left out on processors without instructions that multiply bfloat16.
    """

    name: str
    arguments: tuple[str, ...]
    comparisons: tuple[Comparison, ...]
    needs_bfloat16: bool = False

    @property
    def command(self) -> str:
        """The command line that runs it."""
        return " ".join((f"python -m benchmarks.{self.arguments[0]}", *self.arguments[1:]))


_VIDEOS = (
    "360p H.264 30 fps",
    "720p H.264 30 fps",
    "1080p H.264 30 fps",
    "1080p H.264 60 fps",
    "1080p HEVC 30 fps",
    "1080p VP9 30 fps",
)

_CLIP_SECONDS = (10, 60)

_FEW_VIDEOS, _MANY_VIDEOS = "5000", "20000"

_SHORT_MINUTES, _LONG_MINUTES = "4", "16"

_MIB = 1 / 2**20


def _decoding() -> Iterator[Comparison]:
    for video in _VIDEOS:
        ours = inverse(figure("msec_per_frame", video, "child_process"), 1000)
        for against, method in (("decoding alone", "decode_only"), ("the notebook's loop", "notebook")):
            other = inverse(figure("msec_per_frame", video, method), 1000)
            in_readme = video == "1080p H.264 30 fps"
            yield Comparison(
                f"Decoding {video}, one core", against, ours, other, "frames/s", ratio=Ratio.RATE, in_readme=in_readme
            )
    yield Comparison(
        "Clips of 720p with `repcount run`",
        "a bare loop that decodes and scores them",
        figure("pipeline", "run_sec"),
        figure("pipeline", "bare_sec"),
        "s",
        1,
        Ratio.TIME,
        in_readme=True,
    )


def _inference(precision: str) -> Iterator[Comparison]:
    for seconds in _CLIP_SECONDS:
        yield Comparison(
            f"Scoring a clip of {seconds} s with `repnet-2020` at four strides, {precision}",
            "the authors' notebook",
            figure(f"ours_{precision}_{seconds}s_sec"),
            figure(f"notebook_{seconds}s_sec"),
            "s",
            1,
            Ratio.TIMES_FASTER,
            in_readme=precision == "float32",  # the README's rows are of one machine
        )


def _devices(precision: str) -> Iterator[Comparison]:
    for model in ("lite", "repnet-2020"):
        row = {"model": model, "precision": precision}
        speed, share = figure("results", row, "frames_per_sec"), figure("results", row, "share_of_matrix_rate")
        what = f"Scoring with `{model}`, {precision}"
        yield Comparison(what, "the rate of a large matrix product", speed, quotient(speed, share), "frames/s")


def _int8() -> Iterator[Comparison]:
    ours, other = (figure("results", {"model": "lite", "precision": name}, "frames_per_sec") for name in ("int8", "float32"))
    yield Comparison("Scoring with `lite` in 8-bit whole numbers", "float32", ours, other, "frames/s", in_readme=True)


def _scoring_ways() -> Iterator[Comparison]:
    for way, what in (("parts", "as on workers without a GPU"), ("compiled", "in one function compiled by XLA")):
        yield Comparison(
            f"Scoring 384 frames with `lite`, float32, {what}: processor time",
            "TensorFlow's default, without oneDNN",
            figure(f"{way}_processor_sec"),
            figure("plain_processor_sec"),
            "s",
            2,
            Ratio.TIMES_FASTER,
        )


def _selection(where: str) -> Iterator[Comparison]:
    yield Comparison(
        f"Listing 100,100 files and leaving out the 100,000 that are {where}",
        "listing alone",
        figure("list_and_select_sec"),
        figure("list_sec"),
        "s",
        1,
        Ratio.TIME,
        in_readme=True,
    )
    yield Comparison(f"… peak memory, {where}", "", figure("peak_mib"), None, "MiB")


def _counting() -> Iterator[Comparison]:
    vote, plain = figure("core_msec_per_minute", "vote"), figure("core_msec_per_minute", "plain_vote")
    yield Comparison(
        "The vote of `lite`, per minute of video", "the same in plain form", vote, plain, "ms", 1, Ratio.TIMES_FASTER
    )
    yield Comparison("Counting as a whole, per minute of video", "", figure("core_msec_per_minute", "count"), None, "ms", 1)
    waiting, logits = figure("kilobytes_per_minute", "evidence"), figure("kilobytes_per_minute", "logits")
    yield Comparison("What waits for counting, per minute of video", "logits", waiting, logits, "kB", 0, Ratio.SIZE)
    change = figure("largest_change")
    yield Comparison("Largest change of a count by rounding what waits", "", change, None, "repetitions", 6)


def _annotation() -> Iterator[Comparison]:
    for size in ("720p", "1080p"):
        yield Comparison(
            f"Annotating H.264, {size}",
            "decoding and encoding alone",
            figure("msec_per_frame", size, "annotated"),
            figure("msec_per_frame", size, "alone"),
            "ms/frame",
            1,
            Ratio.TIMES_FASTER,
        )


def _serving() -> Iterator[Comparison]:
    ours, other = figure("counted", "per_sec"), figure("repcount_count", "per_sec")
    yield Comparison(
        "Short clips counted by `repcount serve`, with tables", "`repcount count`, without tables", ours, other, "clips/s", 2
    )
    ours, other = figure("counted", "processor_sec"), figure("repcount_count", "processor_sec")
    yield Comparison("… processor time of a clip", "`repcount count`, without tables", ours, other, "s", 2, Ratio.TIME)
    yield Comparison("… answers from the tables", "", figure("tables", "per_sec"), None, "answers/s")
    yield Comparison("… peak memory", "", figure("memory_mib"), None, "MiB")


def _reading() -> Iterator[Comparison]:
    for size in ("5MB", "100MB"):
        ours, other = figure(size, "client"), figure(size, "beam")
        what = f"Copying an object of {size[:-2]} MB from a server on this machine"
        yield Comparison(what, "Beam's file system", ours, other, "s", 3, Ratio.TIMES_FASTER)


def _memory() -> Iterator[Comparison]:
    yield Comparison(
        f"Peak memory of a run over {_LONG_MINUTES} minutes of 360p video, without the decoder process",
        f"the same over {_SHORT_MINUTES} minutes",
        figure(f"peak_mib_{_LONG_MINUTES}min"),
        figure(f"peak_mib_{_SHORT_MINUTES}min"),
        "MiB",
        0,
        Ratio.MEMORY,
        in_readme=True,
    )


def _scale() -> Iterator[Comparison]:
    what, against = (
        f"A run over {int(_MANY_VIDEOS):,} videos that cost nothing, in four slices",
        f"one slice of {int(_FEW_VIDEOS):,}",
    )
    many, few = (inverse(figure("nights", number, "seconds"), int(number)) for number in (_MANY_VIDEOS, _FEW_VIDEOS))
    yield Comparison(what, against, many, few, "videos/s")
    for who in ("runner", "worker"):
        many, few = (scaled(figure("nights", number, f"{who}_bytes"), _MIB) for number in (_MANY_VIDEOS, _FEW_VIDEOS))
        yield Comparison(f"… peak memory of a {who}", against, many, few, "MiB", 0, Ratio.MEMORY)


def _progress() -> Iterator[Comparison]:
    share = scaled(figure("share"), 100)
    yield Comparison("Progress display of a run while `lite` scores", "", share, None, "% of one core", 1, in_readme=True)


_DEVICES = ("devices", "--frames", "768", "--batch_frames", "128", "--precisions", "float32", "int8")

_INFERENCE = ("inference", "--repeats", "1", "--seconds", *map(str, _CLIP_SECONDS), "--precisions")

ENTRIES = (
    Entry("decoding", ("decoding", "--seconds", "5", "--clips", "8"), tuple(_decoding())),
    Entry("devices", _DEVICES, (*_devices("float32"), *_int8())),
    Entry("devices-bfloat16", (*_DEVICES, "bfloat16"), tuple(_devices("bfloat16")), needs_bfloat16=True),
    Entry("scoring-ways", ("scoring_ways", "--frames", "384"), tuple(_scoring_ways())),
    Entry("counting", ("counting", "--videos", "20"), tuple(_counting())),
    Entry("annotation", ("annotation", "--seconds", "3"), tuple(_annotation())),
    Entry("selection", ("selection",), tuple(_selection("in DuckDB"))),
    Entry("selection-cloud", ("selection", "--cloud"), tuple(_selection("in BigQuery, with servers on the same cores"))),
    Entry("memory", ("memory", "--minutes", _SHORT_MINUTES, _LONG_MINUTES), tuple(_memory())),
    Entry("progress", ("progress",), tuple(_progress())),
    Entry("reading", ("reading", "--megabytes", "5", "100"), tuple(_reading())),
    Entry("scale", ("scale", "--videos", _FEW_VIDEOS, _MANY_VIDEOS, "--slice_videos", _FEW_VIDEOS), tuple(_scale())),
    Entry("serving", ("serving", "--requests", "80"), tuple(_serving())),
    Entry("inference", (*_INFERENCE, "float32"), tuple(_inference("float32"))),
    Entry("inference-bfloat16", (*_INFERENCE, "bfloat16"), tuple(_inference("bfloat16")), needs_bfloat16=True),
)
"""All entries in the order in which they run and are shown."""
