"""The picture of an evaluation: all counts against the true counts, and the curves of the clips with the largest errors.

Matplotlib is imported only when something is drawn. In file names `$` is an ordinary character, not the start of a formula.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.plotting import COUNT_COLOUR, PERIODICITY_COLOUR, QUIET, WORST_COLOUR, short_name, style, thinned
from transforms.records import VideoCount

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_CURVES = 12
"""Largest number of clips whose curves and names fit the picture."""

_CURVES_A_COLUMN = 6
_COUNTS_SIZE, _CURVE_SIZE = (7.0, 6.4), (5.6, 1.75)  # inches
_TICKS = (0, 1, 2, 3, 5, 10, 20, 30, 50, 100, 200, 500, 1000, 10_000, 100_000, 1_000_000)
_EVEN_UP_TO = 3
"""Repetitions up to about which a scale is linear. Above, it is logarithmic, so that both few and many are legible."""

_LABEL_STEP = 0.04  # as a share of the height of the axes
_MAX_TITLE_CHARS = 70


@dataclasses.dataclass(frozen=True, eq=False)
class ClipCurves:
    """The curves of one clip, at m evenly spaced frames.

    Attributes:
      file: File name to show.
      true_count: True number of repetitions.
      count: Counted repetitions.
      duration_sec: Duration of the video in seconds.
      times_sec: Presentation times in seconds, (m,) float64.
      periodicity: Periodicity, (m,) float32, 0..1.
      running_count: Repetitions counted up to and including each frame, (m,) float64.
    """

    file: str
    true_count: float
    count: float
    duration_sec: float
    times_sec: np.ndarray
    periodicity: np.ndarray
    running_count: np.ndarray


def take_curves(file: str, true_count: float, result: VideoCount) -> ClipCurves:
    """Returns the curves of a counted video. They are copies, so that the video's arrays can be freed."""
    shown = thinned(len(result.times_sec))
    return ClipCurves(
        file=file,
        true_count=true_count,
        count=result.counted.count,
        duration_sec=result.facts.duration_sec,
        times_sec=result.times_sec[shown],
        periodicity=result.counted.periodicity[shown],
        running_count=np.cumsum(result.counted.per_frame_count)[shown],
    )


def plot(title: str, counts: Sequence[float | None], true_counts: Sequence[float], worst: Sequence[ClipCurves]) -> Figure:
    """Returns the figure.

    Args:
      title: Title above the counts.
      counts: Count of each clip. None for a failed clip.
      true_counts: True count of each clip.
      worst: Curves to show, those with the largest error first. At most `MAX_CURVES`; may be empty.
    """
    from matplotlib.figure import Figure

    num_columns = -(-len(worst) // _CURVES_A_COLUMN)
    num_rows = -(-len(worst) // num_columns) if worst else 1
    width = _COUNTS_SIZE[0] + num_columns * _CURVE_SIZE[0]
    height = max(_COUNTS_SIZE[1], num_rows * _CURVE_SIZE[1])
    with style():
        figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
        grid = figure.add_gridspec(num_rows, 1 + num_columns, width_ratios=[_COUNTS_SIZE[0]] + num_columns * [_CURVE_SIZE[0]])
        _plot_counts(figure.add_subplot(grid[:, 0]), counts, true_counts, worst)
        figure.axes[0].set_title(short_name(title, _MAX_TITLE_CHARS), loc="left", fontweight="bold", parse_math=False)
        for number, curves in enumerate(worst):
            axes = figure.add_subplot(grid[number % num_rows, 1 + number // num_rows])
            _plot_curves(axes, curves)
            if number % num_rows == num_rows - 1 or number == len(worst) - 1:
                axes.set_xlabel("seconds")
    return figure


def _plot_counts(axes: Axes, counts: Sequence[float | None], true_counts: Sequence[float], worst: Sequence[ClipCurves]) -> None:
    """Plots counts against true counts. Both axes are linear for few repetitions and logarithmic for many."""
    counted, true = np.array(counts, np.float64), np.array(true_counts, np.float64)
    failed = np.isnan(counted)
    limit = 1.25 * max(float(np.nanmax(np.append(counted, true))), 5)
    for set_scale in (axes.set_xscale, axes.set_yscale):
        set_scale("asinh", linear_width=_EVEN_UP_TO)
    ticks = [tick for tick in _TICKS if tick <= limit]
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_ticks(ticks, labels=[f"{tick:,}" for tick in ticks])
        axis.set_ticks([], minor=True)
    axes.set_xlim(-0.6, limit)
    axes.set_ylim(-0.6, limit)
    axes.set_box_aspect(1)

    diagonal = np.linspace(0, limit, 500)
    axes.fill_between(diagonal, diagonal - 1, diagonal + 1, color=QUIET, alpha=0.15, linewidth=0, label="off by at most one")
    axes.plot(diagonal, diagonal, color=QUIET, linewidth=1)
    axes.plot(true[~failed], counted[~failed], "o", color=COUNT_COLOUR, alpha=0.6, markersize=5, markeredgewidth=0)
    if failed.any():
        axes.plot(true[failed], np.zeros(failed.sum()), "x", color=WORST_COLOUR, label=f"failed: {failed.sum()}")
    _label_clips(axes, worst)
    axes.set_xlabel("true count")
    axes.set_ylabel("counted")
    axes.grid(color=QUIET, alpha=0.15)
    axes.legend(loc="upper left", frameon=False)


def _label_clips(axes: Axes, clips: Sequence[ClipCurves]) -> None:
    """Writes names beside their points, without overlaps. The limits of the axes must be set before."""
    to_axes = axes.transData + axes.transAxes.inverted()
    places = [(*to_axes.transform((clip.true_count, clip.count)), clip) for clip in clips]
    text_y = 1.0
    for number, (x, y, clip) in enumerate(sorted(places, key=lambda place: -place[1])):
        text_y = min(text_y - _LABEL_STEP, max(y, (len(places) - number) * _LABEL_STEP))
        is_left = x < 0.5
        axes.annotate(
            short_name(clip.file),
            (clip.true_count, clip.count),
            xytext=(x + (0.03 if is_left else -0.03), text_y),
            textcoords="axes fraction",
            horizontalalignment="left" if is_left else "right",
            verticalalignment="center",
            color=WORST_COLOUR,
            fontsize=8,
            arrowprops={
                "arrowstyle": "-",
                "color": WORST_COLOUR,
                "linewidth": 0.5,
                "shrinkA": 0,
                "shrinkB": 2,
                "relpos": (0 if is_left else 1, 0.5),
            },
            parse_math=False,
        )


def _plot_curves(axes: Axes, curves: ClipCurves) -> None:
    """Plots a clip's periodicity and its running count over time, with the true count as a dashed line."""
    axes.fill_between(curves.times_sec, curves.periodicity, color=PERIODICITY_COLOUR, alpha=0.4, linewidth=0)
    axes.set_ylim(0, 1)
    axes.set_xlim(0, curves.duration_sec)
    axes.set_ylabel("periodicity", color=PERIODICITY_COLOUR)
    heading = f"{short_name(curves.file)}: {curves.count:.1f} counted, {curves.true_count:g} true"
    axes.set_title(heading, loc="left", fontsize=9, parse_math=False)

    running = axes.twinx()
    running.spines["right"].set_visible(True)
    running.plot(curves.times_sec, curves.running_count, color=COUNT_COLOUR, linewidth=1.5)
    running.axhline(curves.true_count, color=QUIET, linestyle="--", linewidth=1)
    running.set_ylim(0, 1.15 * max(curves.count, curves.true_count, 1))
    running.set_ylabel("count so far", color=COUNT_COLOUR)
