"""Labels of public sets as their authors publish them, and the figures that papers report on these sets.

The authors' files name videos, not paths. A video is looked for by its name, without suffix, anywhere below the folder of the
videos. Many videos are no longer online, so missing ones are counted, not refused.
"""

from __future__ import annotations

import dataclasses
import io
import os
import tokenize
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from model.errors import one_line
from pipeline.command_line import UsageError
from pipeline.labels import Label, check_part, parse_count, parse_sec, quote, read_rows
from pipeline.mat_file import MatFileError, read_struct
from transforms.matching import list_videos

_MIN_BOUNDS = 3
"""Fewest bounds of a UCFRep clip that its authors count; clips with fewer are skipped, as in their code."""

_FRAMES_RULE = "must be numbers of frames, at least one, in ascending order"


@dataclasses.dataclass(frozen=True)
class PublishedResult:
    """What a paper reports.

    Attributes:
      name: Method and source.
      obo: Share of clips off by at most one, 0..1. Where a paper reports the share that is off by more, one minus that.
      mae: Mean absolute relative error.
    """

    name: str
    obo: float
    mae: float


@dataclasses.dataclass(frozen=True)
class PublishedSet:
    """A public set.

    Attributes:
      read: Yields, for each clip, its possible labels, the first choice first; none for a clip that is left out. Their `file`
        is a name without suffix.
      results: What papers report on it.
      left_out: Which labels are left out, as in "labels …"; "" for none.
    """

    read: Callable[[str], Iterator[tuple[Label, ...]]]
    results: tuple[PublishedResult, ...]
    left_out: str = ""


def read_published(name: str, path: str, folder: str) -> tuple[list[Label], int, int]:
    """Reads the labels of a public set for the videos that are there.

    Args:
      name: Key of `PUBLISHED_SETS`.
      path: The set's file or folder of labels.
      folder: Folder of the videos.

    Returns:
      The labels of the videos found, in their order, with files relative to `folder`; the number of clips without a video; and
      the number of those left out for what their label says.

    Raises:
      UsageError: The labels cannot be read, two of them contradict each other, all are left out, no video is found, or two
        have the same name.
    """
    files = _index_videos(folder)
    found: dict[Label, float] = {}
    missing = left_out = 0
    for choices in PUBLISHED_SETS[name].read(path):
        if not choices:
            left_out += 1
            continue
        known = [(label, files[label.file]) for label in choices if label.file in files]
        if not known:
            missing += 1
            continue
        label, (file, *others) = known[0]
        if others:
            raise UsageError(f"a video of {name} must be in the folder once. Received: {quote(file)} and {quote(others[0])}")
        label = dataclasses.replace(label, file=file)
        count = found.setdefault(dataclasses.replace(label, true_count=0.0), label.true_count)
        if count != label.true_count:
            raise UsageError(
                f"a clip must have one count. Received: {count:g} and {label.true_count:g} for {quote(label.name)}"
            )
    if not (found or missing):
        why = PUBLISHED_SETS[name].left_out
        raise UsageError(
            f"the labels must have a clip to count. Labels {why}, which are left out: {left_out:,}. Received: {path!r}"
        )
    if not found:
        raise UsageError(
            f"the folder must have videos of {name}. Labels without a video in it: {missing:,}. Received: {folder!r}"
        )
    return [dataclasses.replace(label, true_count=count) for label, count in found.items()], missing, left_out


def _index_videos(folder: str) -> Mapping[str, list[str]]:
    """Returns the videos below a folder by name without suffix, as paths relative to it; raises UsageError if it is none."""
    if not os.path.isdir(folder):
        raise UsageError(f"--videos must be a folder on this machine. Received: {folder!r}")
    files: dict[str, list[str]] = {}
    for video in list_videos(folder):
        file = os.path.relpath(video.uri, os.path.abspath(folder))
        files.setdefault(_stem(file), []).append(file)
    return files


def _read_countix(path: str) -> Iterator[tuple[Label, ...]]:
    """Reads `countix_train.csv`, `countix_val.csv` or `countix_test.csv`.

    Columns: video_id, class (not in the test file), kinetics_start, kinetics_end, repetition_start, repetition_end, count. All
    times are seconds in the YouTube video. A video may be there whole, as ID, or cut to the ten seconds of Kinetics, as
    ID_START_END with six digits each. Only the part from repetition_start to repetition_end is counted, as in the paper.

    That part lies within the part of Kinetics, which is what was labelled, and passes its ends by a rounding at most. Where it
    lies outside, one of the two is wrong, and the clip is left out.

    Source: the copy `countix/countix_test.csv` in https://github.com/confifu/RepNet-Pytorch. The set is linked from
    https://github.com/cvdfoundation/kinetics-dataset.
    """
    columns = ("video_id", "kinetics_start", "kinetics_end", "repetition_start", "repetition_end", "count")
    for place, row in read_rows(path, columns):
        video = row.get("video_id", "").strip()
        if not video:
            raise UsageError(f"{place}: video_id must be the name of a video. Received: none")
        cut_start, cut_end, start, end = (parse_sec(row.get(column, ""), place, column) for column in columns[1:5])
        check_part(start, end, place)
        count = parse_count(row.get("count", ""), place)
        shown_start, shown_end = max(start, cut_start), min(end, cut_end)
        if shown_start >= shown_end:
            yield ()
            continue
        cut_name = f"{video}_{int(cut_start):06d}_{int(cut_end):06d}"
        yield Label(cut_name, count, shown_start - cut_start, shown_end - cut_start), Label(video, count, start, end)


def _read_repcount(path: str) -> Iterator[tuple[Label, ...]]:
    """Reads `train.csv`, `valid.csv` or `test.csv` of RepCount-A.

    Columns: type, name, count, L1, L2, …, with a number of the line before them in some files. L1 and L2 are the frames where
    the first repetition starts and ends, and so on. The whole video is counted, so only name and count are used. A line without
    a count is left out, as in the authors' code.

    Source: `dataset/RepCountA_Loader.py`, `dataset/RepCountA_raw_Loader.py` and `open_set/new_test.csv` of the authors' code,
    https://github.com/SvipRepetitionCounting/TransRAC. The set is at
    https://svip-lab.github.io/dataset/RepCount_dataset.html.
    """
    for place, row in read_rows(path, ("name", "count")):
        count = row.get("count", "")
        yield (Label(_stem(row.get("name", "").strip()), parse_count(count, place)),) if count.strip() else ()


def _read_ucfrep(path: str) -> Iterator[tuple[Label, ...]]:
    """Reads a folder of `.mat` files of UCFRep: `annotations/train` or `annotations/val`.

    Each file is named after a video of UCF101 and has a struct `label`. `temporal_bound` are the n frames, from 1, at which
    n − 1 repetitions start and end. `start_frame` and `end_frame` are the first and the last. Only the frames from one to the
    other are counted, as in the paper. A clip with fewer than three bounds is left out, as in the authors' code.

    Source: `datasets/ucf_aug.py` and `utils/label_interpolation_v1.m` of the authors' code,
    https://github.com/Xiaodomgdomg/Deep-Temporal-Repetition-Counting.
    """
    for name, content in _read_folder(path, ".mat"):
        try:
            fields = read_struct(content, "label")
        except MatFileError as error:
            raise UsageError(f"{name}: must be a MATLAB file of version 5 with a struct label, but {error}") from error
        missing = [field for field in ("temporal_bound", "start_frame", "end_frame") if field not in fields]
        if missing:
            raise UsageError(f"{name}: the struct label must have the numbers {missing[0]}. Received: {', '.join(fields)}")
        if len(fields["temporal_bound"]) < _MIN_BOUNDS:
            yield ()
            continue
        bounds = _check_frames(fields["temporal_bound"], f"{name}: temporal_bound")
        ends = np.concatenate([fields["start_frame"], fields["end_frame"]])
        if len(fields["start_frame"]) != 1 or len(fields["end_frame"]) != 1:
            received = quote(str(ends.tolist()))
            raise UsageError(f"{name}: start_frame and end_frame must be one number each. Received: {received}")
        start_frame, end_frame = _check_frames(ends, f"{name}: start_frame and end_frame")
        yield (Label(_stem(name), len(bounds) - 1.0, start_frame=max(start_frame - 1, 0), end_frame=end_frame),)


def _read_quva(path: str) -> Iterator[tuple[Label, ...]]:
    """Reads the folder `annotations` of QUVA Repetition: `.npy` files named after the videos.

    Each holds the frames at which repetitions end, so there are as many repetitions as frames. The whole video is counted.

    Source: the set's README, as copied to `data/README.txt` in https://github.com/dylan-plummer/speed-counting. The set is at
    https://tomrunia.github.io/projects/repetition/.
    """
    for name, content in _read_folder(path, ".npy"):
        try:
            ends = np.lib.format.read_array(io.BytesIO(content), allow_pickle=False)
        except (ValueError, EOFError, MemoryError, TypeError, RecursionError, tokenize.TokenError) as error:
            raise UsageError(f"{name}: must be a NumPy file of numbers: {one_line(error)}") from error
        yield (Label(_stem(name), float(len(_check_frames(ends, name)))),)


def _read_folder(path: str, suffix: str) -> Iterator[tuple[str, bytes]]:
    """Yields name and content of a folder's files with a suffix, by name; raises UsageError if there are none."""
    try:
        # Archives made on macOS hold a companion ._NAME beside every file.
        names = sorted(name for name in os.listdir(path) if name.endswith(suffix) and not name.startswith("."))
        if not names:
            raise UsageError(f"the labels must be a folder of {suffix} files. Received: {path!r}")
        for name in names:
            with open(os.path.join(path, name), "rb") as file:
                yield name, file.read()
    except OSError as error:
        raise UsageError(
            f"the labels must be a readable folder of {suffix} files: {error.strerror}. Received: {path!r}"
        ) from error


def _check_frames(numbers: np.ndarray, place: str) -> list[int]:
    """Returns frame numbers as integers; raises UsageError, which begins with `place`, if they are none."""
    if not (numbers.dtype.kind in "iuf" and numbers.ndim == 1 and numbers.size):
        raise UsageError(f"{place} {_FRAMES_RULE}. Received: {numbers.dtype} of shape {numbers.shape}")
    if not np.isfinite(numbers).all():
        raise UsageError(f"{place} {_FRAMES_RULE}. Received: {quote(str(numbers.tolist()))}")
    steps = np.diff(numbers.astype(np.float64), prepend=-1.0)  # the first frame is 0 or 1
    if not ((steps >= 1) & (steps == np.floor(steps))).all():
        raise UsageError(f"{place} {_FRAMES_RULE}. Received: {quote(str(numbers.tolist()))}")
    return [int(number) for number in numbers]


def _stem(file: str) -> str:
    return os.path.splitext(os.path.basename(file))[0]


PUBLISHED_SETS = {
    "countix": PublishedSet(
        _read_countix,
        (PublishedResult("RepNet (CVPR 2020)", 1 - 0.3034, 0.3641),),
        "with repetitions outside the part of Kinetics",
    ),
    "quva": PublishedSet(_read_quva, (PublishedResult("RepNet (CVPR 2020)", 1 - 0.17, 0.104),)),
    "repcount": PublishedSet(
        _read_repcount,
        (
            PublishedResult("TransRAC (CVPR 2022)", 0.2913, 0.4431),
            PublishedResult("RepNet, by TransRAC's authors", 0.0134, 0.9950),
        ),
        "without a count",
    ),
    "ucfrep": PublishedSet(
        _read_ucfrep, (PublishedResult("Zhang et al. (CVPR 2020)", 0.790, 0.147),), f"with fewer than {_MIN_BOUNDS} bounds"
    ),
}
"""Public sets by name. Figures are of the test parts of Countix and RepCount-A, UCFRep's validation part and all of QUVA."""
