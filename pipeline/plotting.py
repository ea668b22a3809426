"""What all pictures share: formats, colours, names that fit, style, and how they are written.

Matplotlib is imported only when something is drawn. Pictures are the same whatever the user's Matplotlib is set to.
"""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from model.replacing import replacing
from transforms.text import printable

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SUFFIXES = (".png", ".svg", ".pdf")
"""File suffixes of the supported formats, in lower case."""

MAX_POINTS = 2000
"""Points of a curve: more than the picture has pixels, but few enough for Agg to fill the area below."""

MAX_NAME_CHARS = 40

COUNT_COLOUR, PERIODICITY_COLOUR, WORST_COLOUR, QUIET = "#1f6feb", "#f0883e", "#cf222e", "#57606a"


def thinned(num_frames: int) -> np.ndarray:
    """Returns the frames whose values a curve shows, (min(num_frames, MAX_POINTS),) int64, evenly spaced."""
    return np.linspace(0, num_frames - 1, min(num_frames, MAX_POINTS)).round().astype(np.int64)


def import_matplotlib() -> None:
    """Imports Matplotlib; raises ModuleNotFoundError where the extra `plot` is not installed."""
    os.environ["MPLBACKEND"] = "agg"  # it refuses to be imported with a backend that it does not know, and we show no window
    import matplotlib  # noqa: F401


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Replaces the user's settings, such as those in matplotlibrc, by Matplotlib's own and ours while the body runs."""
    import matplotlib

    with matplotlib.rc_context():
        matplotlib.rcdefaults()
        matplotlib.rcParams.update({"font.size": 9, "axes.spines.top": False, "axes.spines.right": False})
        yield


def save(figure: Figure, path: Path) -> None:
    """Writes the figure in the format of the path's suffix, completely or not at all; raises OSError if that fails."""
    with replacing(path) as partial, warnings.catch_warnings(), style():
        warnings.filterwarnings("ignore", r"Glyph \d+")  # characters that the font lacks are shown as boxes
        figure.savefig(partial, format=path.suffix[1:].lower())


def short_name(text: str, max_chars: int = MAX_NAME_CHARS) -> str:
    """Returns text shortened at its start, since files of a folder differ at the end."""
    text = printable(text)
    return text if len(text) <= max_chars else f"…{text[1 - max_chars :]}"
