"""Where a process that this one starts finds its modules."""

from __future__ import annotations

import os
import sys
from pathlib import Path

_ROOT = Path(__file__).parents[1]


def import_path() -> str:
    """Returns the value of PYTHONPATH with which a process imports the modules that this one does.

    The current folder is left out: it may be full of uploads. It is an empty entry of `sys.path` in an interactive interpreter
    and under `python -c`. The program itself is found even if it was imported from there.
    """
    return os.pathsep.join([*(os.path.abspath(entry) for entry in sys.path if entry), str(_ROOT)])
