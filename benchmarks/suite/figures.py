"""The file of figures: the latest result of each benchmark, with machine, date, commit and command."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pipeline.output_files import write_text

ROOT = Path(__file__).parents[2]

FILE = Path("docs/benchmarks.json")
"""The file of figures, below the root of the checkout."""


class FiguresError(Exception):
    """The file of figures cannot be read, or lacks a figure."""


@dataclasses.dataclass(frozen=True)
class Record:
    """What one run of a benchmark measured.

    Attributes:
      command: Command line that measures it again.
      date: Day of the run, as YYYY-MM-DD (UTC).
      commit: Git's name of the measured sources, with "-dirty" if files had changed; "" if unknown.
      seconds: Wall time of the whole benchmark.
      other_cores: Cores that other processes kept busy meanwhile, on average; None if unknown.
      machine: Processor and system, see `benchmarks.report.describe_machine`.
      results: Figures, in the benchmark's own names and units.
    """

    command: str
    date: str
    commit: str
    seconds: float
    other_cores: float | None
    machine: Mapping[str, Any]
    results: Mapping[str, Any]


Figures = Mapping[str, Record]
"""Records by name of their entry, see `benchmarks.suite.entries`."""


def read_figures(path: Path) -> dict[str, Record]:
    """Reads a file of figures; a missing one is empty.

    Raises:
      FiguresError: It is no such file.
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {name: Record(**fields) for name, fields in content.items()}
    except FileNotFoundError:
        return {}
    except (ValueError, TypeError, AttributeError) as error:
        raise FiguresError(f"{path} must be written by `python -m benchmarks`. Received: {error}") from error


def merge_record(path: Path, name: str, record: Record) -> None:
    """Replaces one record in a file of figures and keeps the others.

    The file is whole at any moment: a new one is written beside it and then takes its place.

    Raises:
      FiguresError: The file is there and no such file.
    """
    merged = {**read_figures(path), name: record}
    content = {key: dataclasses.asdict(merged[key]) for key in sorted(merged)}
    write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
