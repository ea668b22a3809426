"""The picture of a count shows everything aligned in time and legible, for any length, shape, count and name."""

import dataclasses
import itertools
import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline import plotting
from pipeline.count_plot import plot
from pipeline.counted_video import describe
from pipeline.kept_frames import KeptFrames
from tests.support.samples import make_video, make_video_count
from tests.support.scorers import FAKE_COUNTER
from transforms.records import FrameChunk

ZERO = {"count": 0.0, "certainty": None, "segments": (), "repetition_frames": np.array([])}


def draw(uri="/v/squats.mp4", *, num_frames=300, fps=30.0, size=(640, 360), **changes):
    """Returns the figure of a video that gets brighter."""
    counted = describe(make_video_count(uri, num_frames=num_frames, fps=fps, **changes), FAKE_COUNTER)
    counted = dataclasses.replace(counted, width=size[0], height=size[1])
    kept = KeptFrames()
    for index, first in enumerate(range(0, num_frames, 768)):
        times_sec = counted.times_sec[first : first + 768]
        levels = np.linspace(0, 255, num_frames)[first : first + 768].astype(np.uint8)
        kept.add(
            FrameChunk(
                make_video(uri), index, np.ones((len(levels), 112, 112, 3), np.uint8) * levels[:, None, None, None], times_sec
            )
        )
    return plot(counted, kept, FAKE_COUNTER.scorer.similarity(kept.frames))


def shown(axes):
    return [text.get_text() for text in axes.texts]


def overlaps(texts):
    """Pairs of texts that overlap, and texts beyond the edge of the picture."""
    figure = texts[0].get_figure()
    figure.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts if text.get_text() and text.get_visible()]
    pairs = [(one, other) for (one, a), (other, b) in itertools.combinations(boxes, 2) if a.overlaps(b)]
    edge = figure.bbox
    cut = [text for text, box in boxes if box.x0 < 0 or box.y0 < 0 or box.x1 > edge.x1 or box.y1 > edge.y1]
    return pairs + cut


def all_texts(figure):
    texts = list(figure.texts)
    for axes in figure.axes:
        texts += [*axes.texts, axes.xaxis.label, axes.yaxis.label, *axes.get_xticklabels(), *axes.get_yticklabels()]
    return texts


def test_every_panel_shows_what_it_promises():
    figure = draw(period=30)
    frames, count, periodicity, matrix, strides = figure.axes
    assert len(frames.images) == 6
    line, marks = count.lines
    assert line.get_ydata()[-1] == pytest.approx(5.0)
    np.testing.assert_allclose(marks.get_xydata(), [(3.5, 1), (4.5, 2), (5.5, 3), (6.5, 4), (7.5, 5)])
    np.testing.assert_allclose(np.interp(marks.get_xdata(), *line.get_data()), [1, 2, 3, 4, 5])
    assert shown(count) == ["1", "2", "3", "4", "5"]
    assert shown(periodicity) == ["5.0 at 60 a minute"]
    assert [axes.get_ylabel() for axes in (count, periodicity, matrix)] == [
        "count so far",
        "periodicity",
        "similarity of frames",
    ]
    assert [label.get_text() for label in strides.get_xticklabels()] == ["1", "2"]
    assert [bar.get_height() for bar in strides.patches] == [0.25, 0.5]
    assert [text.get_text() for text in figure.texts] == [
        "squats.mp4",
        "5 repetitions (5.00)  ·  60.0 a minute  ·  confidence 0.50  ·  certainty 0.90  ·  fake",
    ]


@pytest.mark.parametrize(("num_frames", "fps"), [(300, 30.0), (60, 30.0), (2000, 1.0)])
def test_frames_curves_and_matrix_are_aligned_in_time(num_frames, fps):
    figure = draw(num_frames=num_frames, fps=fps)
    *aligned, _ = figure.axes
    assert {(axes.get_position().x0, axes.get_position().x1) for axes in aligned} == {
        (aligned[0].get_position().x0, aligned[0].get_position().x1)
    }
    for axes in aligned:
        assert axes.get_xlim() == pytest.approx((0.0, num_frames / fps))
    assert aligned[-1].get_ylim() == (pytest.approx(num_frames / fps), 0.0)


@pytest.mark.parametrize(
    "video",
    [
        {"num_frames": 60},
        {"num_frames": 108_000, "period": 45},
        {"num_frames": 300, "size": (360, 640), "period": 10},
        {"num_frames": 300, "size": (4000, 100)},
        {"num_frames": 300, "size": (100, 4000), "flags": ()},
        {"num_frames": 1, **ZERO},
        {"num_frames": 300, **ZERO},
        {"num_frames": 7200, "fps": 1.0, "period": 4, "stride_scores": dict.fromkeys(range(1, 25), 0.5)},
    ],
    ids=["2 s", "1 h", "portrait", "wide", "narrow", "one frame", "zero", "2 h at 24 strides"],
)
def test_nothing_overlaps_and_nothing_is_cut(tmp_path, video):
    figure = draw(**video)
    assert overlaps(all_texts(figure)) == []
    plotting.save(figure, tmp_path / "squats.png")
    height, width = cv2.imread(str(tmp_path / "squats.png")).shape[:2]
    assert (width, 1000 < height < 2000) == (1200, True)


def test_times_are_written_as_people_read_them():
    for num_frames, fps, last in ((60, 30.0, "2.0"), (300, 30.0, "10"), (3000, 10.0, "5:00"), (3600, 0.5, "2:00:00")):
        figure = draw(num_frames=num_frames, fps=fps)
        assert figure.axes[1].get_xticklabels()[-1].get_text() == last


def test_a_count_of_zero_says_so():
    assert shown(draw(**ZERO).axes[1]) == ["nothing repeats"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$\\frac{.mp4", "a\nb\x1b[2J.mp4", "\u65e5\u672c\udcff.mp4", "x" * 300 + ".mp4"])
@pytest.mark.parametrize("suffix", [".png", ".svg", ".pdf"])
def test_names_are_shown_as_they_are_in_every_format(tmp_path, name, suffix):
    figure = draw(f"/v/{name}", num_frames=30)
    plotting.save(figure, tmp_path / f"squats{suffix}")
    title = figure.texts[0].get_text()
    assert title.isprintable()
    assert title.endswith(".mp4")
    assert len(title) <= 80


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys; from pipeline.commands import count; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
