"""The picture shows all clips, and the names and curves of the worst, for any number, length and name."""

import subprocess
import sys

import cv2
import numpy as np
import pytest

from pipeline import evaluation_plot, plotting
from pipeline.evaluation_plot import ClipCurves


def curves(file="squats.mp4", true_count=8.0, count=6.0):
    times_sec = np.linspace(0.0, 9.9, 300)
    return ClipCurves(file, true_count, count, 10.0, times_sec, np.full(300, 0.7, np.float32), np.linspace(0.0, count, 300))


def texts(axes):
    return [text.get_text() for text in axes.texts]


def test_counts_are_plotted_against_true_counts_and_the_worst_are_named():
    figure = evaluation_plot.plot("lite", [6.0, 3.0, None, None], [8.0, 3.0, 0.0, 2.0], [curves()])
    counts = figure.axes[0]
    diagonal, counted, failed = counts.lines
    assert (counts.get_xlabel(), counts.get_ylabel()) == ("true count", "counted")
    np.testing.assert_array_equal(*diagonal.get_data())
    np.testing.assert_array_equal(counted.get_xydata(), [(8, 6), (3, 3)])
    np.testing.assert_array_equal(failed.get_xydata(), [(0, 0), (2, 0)])
    assert failed.get_label() == "failed: 2"
    assert texts(counts) == ["squats.mp4"]


def test_curves_show_periodicity_the_running_count_and_the_true_count():
    figure = evaluation_plot.plot("lite", [6.0], [8.0], [curves()])
    _, periodicity, running = figure.axes
    assert periodicity.get_title(loc="left") == "squats.mp4: 6.0 counted, 8 true"
    assert (periodicity.get_xlabel(), periodicity.get_ylabel(), running.get_ylabel()) == (
        "seconds",
        "periodicity",
        "count so far",
    )
    assert periodicity.collections[0].get_paths()[0].vertices[:, 1].max() == pytest.approx(0.7)
    count, truth = running.lines
    assert count.get_ydata()[-1] == 6.0
    assert (set(truth.get_ydata()), truth.get_linestyle()) == ({8.0}, "--")


@pytest.mark.parametrize("num_worst", [0, 1, 4, 7, evaluation_plot.MAX_CURVES])
def test_any_number_of_curves_gives_a_picture_of_reasonable_size(tmp_path, num_worst):
    path = tmp_path / "report.png"
    figure = evaluation_plot.plot("lite", [6.0] * 20, [8.0] * 20, [curves()] * num_worst)
    plotting.save(figure, path)
    height, width = cv2.imread(str(path)).shape[:2]
    assert 500 < height < 1500
    assert 700 < width < 2500
    label_heights = sorted(text.xyann[1] for text in figure.axes[0].texts)
    assert all(0 < y < 1 for y in label_heights)
    assert all(np.diff(label_heights) > 0.03)


def test_a_picture_is_drawn_even_if_all_clips_failed(tmp_path):
    plotting.save(evaluation_plot.plot("lite", [None], [0.0], []), tmp_path / "report.png")
    assert cv2.imread(str(tmp_path / "report.png")) is not None


def test_the_largest_true_count_fits(tmp_path):
    plotting.save(evaluation_plot.plot("lite", [0.0], [1e6], [curves(true_count=1e6, count=0.0)]), tmp_path / "report.png")
    assert cv2.imread(str(tmp_path / "report.png")) is not None


@pytest.mark.parametrize(("suffix", "beginning"), [(".png", b"\x89PNG"), (".PDF", b"%PDF"), (".svg", b"<?xml")])
def test_the_suffix_decides_the_format(tmp_path, suffix, beginning):
    path = tmp_path / f"report{suffix}"
    plotting.save(evaluation_plot.plot("lite", [6.0], [8.0], []), path)
    assert path.read_bytes().startswith(beginning)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("name", ["$\\frac{.mp4", "a\nb\x1b[2J.mp4", "\u65e5\u672c\udcff.mp4", "x" * 300 + ".mp4"])
def test_names_are_shown_as_they_are_and_never_read_as_formulas(tmp_path, name):
    figure = evaluation_plot.plot(name, [6.0], [8.0], [curves(name)])
    plotting.save(figure, tmp_path / "report.png")
    (shown,) = texts(figure.axes[0])
    assert shown.isprintable()
    assert shown.endswith(".mp4")
    assert len(shown) <= 40


def test_a_failed_write_leaves_the_old_picture(tmp_path, monkeypatch):
    path = tmp_path / "report.png"
    path.write_text("an older one")
    figure = evaluation_plot.plot("lite", [6.0], [8.0], [])

    def break_off(partial, format):
        partial.write_text("half a pic")
        raise OSError("the disk is full")

    monkeypatch.setattr(figure, "savefig", break_off)
    with pytest.raises(OSError, match="full"):
        plotting.save(figure, path)
    assert [(entry.name, entry.read_text()) for entry in tmp_path.iterdir()] == [("report.png", "an older one")]


def test_matplotlib_is_imported_only_when_something_is_drawn():
    code = "import sys; from pipeline import main; print('matplotlib' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"
