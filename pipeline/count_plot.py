"""The picture of a counted video: frames, count, periodicity and similarity above each other, aligned in time.

Matplotlib is imported only when something is drawn. In file names `$` is an ordinary character, not the start of a formula.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from pipeline.counted_video import CountedVideo
from pipeline.kept_frames import KeptFrames
from pipeline.plotting import COUNT_COLOUR, PERIODICITY_COLOUR, QUIET, short_name, style, thinned

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_WIDTH, _LEFT, _RIGHT = 10.0, 0.9, 0.35  # inches, as are all sizes here
_PANEL = _WIDTH - _LEFT - _RIGHT
_TOP, _GAP, _BOTTOM = 0.75, 0.5, 0.55
_COUNT_HEIGHT, _PERIODICITY_HEIGHT, _SIMILARITY_HEIGHT, _STRIDES_HEIGHT = 2.4, 1.2, 4.2, 1.1
_FRAME_AREA = 0.9  # square inches of a thumbnail
_FEWEST_FRAMES, _MOST_FRAMES = 3, 14
_LONGEST_SIDES = (1 / 3, 4.0)  # width divided by height of the narrowest and the widest thumbnails
_MOST_TICKS = 10
_STEPS_SEC = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 14400)
_NUMBER_STEPS = (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10_000, 20_000, 50_000, 100_000)
_NUMBER_SPACE, _CHARACTER_SPACE = 0.3, 0.075
_MAX_TITLE_CHARS = 80


def plot(counted: CountedVideo, kept: KeptFrames, similarity: np.ndarray) -> Figure:
    """Returns the figure.

    Args:
      counted: Counted video.
      kept: Frames of the video; at least one.
      similarity: Similarity of the kept frames, (n, n) float32 in 0..1.
    """
    from matplotlib.figure import Figure

    num_frames, frame_width, frame_height = _frame_size(counted.width / counted.height, len(kept.times_sec))
    heights = (frame_height, _COUNT_HEIGHT, _PERIODICITY_HEIGHT, _SIMILARITY_HEIGHT, _STRIDES_HEIGHT)
    height = _TOP + sum(heights) + _GAP * (len(heights) - 1) + _BOTTOM
    end_sec = max(counted.duration_sec, float(counted.times_sec[-1]), 1e-3)
    ticks_sec = _time_ticks(end_sec)
    with style():
        figure = Figure(figsize=(_WIDTH, height), dpi=120)
        _write_title(figure, counted, height)
        panels, top = [], height - _TOP
        for panel_height in heights:
            bottom = top - panel_height
            panels.append(figure.add_axes((_LEFT / _WIDTH, bottom / height, _PANEL / _WIDTH, panel_height / height)))
            top = bottom - _GAP
        frames, count, periodicity, matrix, strides = panels
        _show_frames(frames, kept, num_frames, frame_width, end_sec)
        _plot_count(count, counted, end_sec)
        _plot_periodicity(periodicity, counted, end_sec)
        _show_similarity(matrix, kept.times_sec, similarity, end_sec)
        for axes in (count, periodicity, matrix):
            axes.set_xlim(0, end_sec)
            axes.set_xticks(ticks_sec, labels=[_clock(tick, ticks_sec) for tick in ticks_sec])
        matrix.set_yticks(ticks_sec, labels=[_clock(tick, ticks_sec) for tick in ticks_sec])
        _plot_strides(strides, counted)
    return figure


def _write_title(figure: Figure, counted: CountedVideo, height: float) -> None:
    facts = [f"{counted.count_rounded} repetition{'' if counted.count_rounded == 1 else 's'} ({counted.count:.2f})"]
    if counted.mean_rate_hz is not None:
        facts.append(f"{60 * counted.mean_rate_hz:.1f} a minute")
    facts.append(f"confidence {counted.confidence:.2f}")
    if counted.certainty is not None:
        facts.append(f"certainty {counted.certainty:.2f}")
    facts += [short_name(counted.model), *counted.flags]
    left = _LEFT / _WIDTH
    title = short_name(counted.video_uri.rstrip("/").rpartition("/")[2], _MAX_TITLE_CHARS)
    figure.text(left, 1 - 0.3 / height, title, fontsize=12, fontweight="bold", parse_math=False)
    figure.text(left, 1 - 0.53 / height, "  ·  ".join(facts), color=QUIET, parse_math=False)


def _frame_size(aspect: float, num_kept: int) -> tuple[int, float, float]:
    """Returns how many thumbnails fit, and the width and height of each in inches; `aspect` is width divided by height."""
    aspect = min(max(aspect, _LONGEST_SIDES[0]), _LONGEST_SIDES[1])
    width = math.sqrt(_FRAME_AREA * aspect)
    num_frames = min(max(int(_PANEL / width), _FEWEST_FRAMES), _MOST_FRAMES, num_kept)
    return num_frames, width, width / aspect


def _show_frames(axes: Axes, kept: KeptFrames, num_frames: int, width: float, end_sec: float) -> None:
    """Shows frames in evenly spaced places, each the one at the time of the middle of its place."""
    all_frames = kept.frames
    half = width * end_sec / _PANEL / 2
    middles_sec = (np.arange(num_frames) + 0.5) * end_sec / num_frames
    nearest = np.abs(kept.times_sec - middles_sec[:, None]).argmin(axis=1)
    for middle_sec, position in zip(middles_sec.tolist(), nearest.tolist(), strict=True):
        axes.imshow(all_frames[position], extent=(middle_sec - half, middle_sec + half, 0, 1), aspect="auto")
    axes.set_xlim(0, end_sec)
    axes.set_ylim(0, 1)
    axes.spines[:].set_visible(False)
    shown_sec = kept.times_sec[nearest].tolist()
    axes.set_xticks(middles_sec.tolist(), labels=[_clock(time, shown_sec) for time in shown_sec], color=QUIET)
    axes.set_yticks([])
    axes.tick_params(length=0)


def _plot_count(axes: Axes, counted: CountedVideo, end_sec: float) -> None:
    """Plots the running count, with a mark and, where there is room, a number at each repetition."""
    from matplotlib.ticker import MaxNLocator

    shown = thinned(len(counted.times_sec))
    ends_sec = np.append(counted.times_sec[1:], end_sec)  # a frame's count is complete when it ends
    running = np.append(0.0, counted.curve[shown])
    axes.plot(np.append(counted.times_sec[0], ends_sec[shown]), running, color=COUNT_COLOUR, linewidth=1.5)
    times_sec = counted.repetition_times_sec
    numbers = np.arange(1, len(times_sec) + 1)
    size = min(max(300 / max(len(times_sec), 1), 1.5), 5.0)
    axes.plot(times_sec, numbers, "o", color=COUNT_COLOUR, markersize=size, markeredgewidth=0, rasterized=len(times_sec) > 1000)
    for number in numbers[_labelled(times_sec, end_sec)].tolist():
        axes.annotate(str(number), (times_sec[number - 1], number), (0, 4), textcoords="offset points", ha="center", fontsize=8)
    if not counted.segments:
        axes.text(0.5, 0.5, "nothing repeats", transform=axes.transAxes, ha="center", color=QUIET)
    _shade(axes, counted)
    axes.set_ylim(0, 1.15 * max(counted.count, counted.count_rounded, 1))
    axes.yaxis.set_major_locator(MaxNLocator(nbins=7, integer=True))
    axes.set_ylabel("count so far")
    axes.grid(color=QUIET, alpha=0.15)


def _plot_periodicity(axes: Axes, counted: CountedVideo, end_sec: float) -> None:
    """Plots the periodicity of each frame above the shaded segments, with the count and rate of each where there is room."""
    shown = thinned(len(counted.times_sec))
    edges_sec = np.append(counted.times_sec[shown], end_sec)
    scores = counted.periodicity[shown]
    heights = np.append(scores, scores[-1])
    axes.fill_between(edges_sec, heights, step="post", color=PERIODICITY_COLOUR, alpha=0.55, linewidth=0, rasterized=True)
    _shade(axes, counted)
    for segment in counted.segments:
        label = f"{segment.count:,.{1 if segment.count < 100 else 0}f} at {segment.rate_per_minute:.0f} a minute"
        if (segment.end_sec - segment.start_sec) * _PANEL / end_sec > _CHARACTER_SPACE * len(label):
            middle_sec = (segment.start_sec + segment.end_sec) / 2
            axes.annotate(
                label, (middle_sec, 1), (0, 3), xycoords=("data", "axes fraction"), textcoords="offset points", ha="center",
                fontsize=8, color=QUIET,
            )  # fmt: skip
    axes.set_ylim(0, 1)
    axes.set_ylabel("periodicity")


def _shade(axes: Axes, counted: CountedVideo) -> None:
    for segment in counted.segments:
        axes.axvspan(segment.start_sec, segment.end_sec, color=COUNT_COLOUR, alpha=0.08, linewidth=0, zorder=0)


def _show_similarity(axes: Axes, times_sec: np.ndarray, similarity: np.ndarray, end_sec: float) -> None:
    """Shows the similarity matrix, each cell as wide and as high as its frame lasts."""
    edges_sec = np.append(times_sec, end_sec)
    axes.pcolormesh(edges_sec, edges_sec, similarity, cmap="magma", vmin=0, vmax=1, rasterized=True)
    axes.set_ylim(end_sec, 0)
    axes.set_ylabel("similarity of frames")
    axes.set_xlabel("time" if end_sec >= 120 else "seconds")


def _plot_strides(axes: Axes, counted: CountedVideo) -> None:
    """Plots the score of each stride; the best one has the colour of the count."""
    places = np.arange(len(counted.stride_scores))
    scores = list(counted.stride_scores.values())
    colours = [COUNT_COLOUR if stride == counted.stride else "#afb8c1" for stride in counted.stride_scores]
    bars = axes.bar(places, scores, color=colours, width=0.6)
    axes.bar_label(bars, fmt="{:.2f}", fontsize=8, padding=2)
    axes.set_xticks(places.tolist(), labels=[f"{stride}" for stride in counted.stride_scores])
    axes.set_xlim(-0.6, max(len(places) - 0.4, 6))
    axes.set_ylim(0, 1.2)
    axes.set_yticks([0, 0.5, 1])
    axes.set_xlabel("stride in frames")
    axes.set_ylabel("score")


def _labelled(times_sec: np.ndarray, end_sec: float) -> slice:
    """Returns which repetitions get a number: every one, every second, every fifth …, so that numbers do not overlap."""
    for step in _NUMBER_STEPS:
        gaps_sec = np.diff(times_sec[step - 1 :: step])
        if not len(gaps_sec) or gaps_sec.min() * _PANEL / end_sec >= _NUMBER_SPACE:
            return slice(step - 1, None, step)
    return slice(0, 0)


def _time_ticks(end_sec: float) -> list[float]:
    """Returns times in seconds at round steps from 0 to the end."""
    step = next((step for step in _STEPS_SEC if end_sec / step <= _MOST_TICKS), end_sec)
    return (np.arange(int(end_sec / step) + 1) * step).tolist()


def _clock(time_sec: float, times_sec: Sequence[float]) -> str:
    """Returns a time as text, written as its neighbours `times_sec` are: 2.5, 1:30 or 1:02:30."""
    longest = max(times_sec)
    if longest < 120:
        step = min(np.diff(times_sec), default=1.0)
        digits = 0 if all(float(time).is_integer() for time in times_sec) else 1 if step >= 0.1 else 2
        return f"{time_sec:.{digits}f}"
    minutes, seconds = divmod(round(time_sec), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}" if longest >= 3600 else f"{minutes}:{seconds:02}"
