"""Tables of figures as Markdown, each by the name that its block in the documentation has."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmarks.suite.comparison import Comparison, Side, figure, inverse, quotient, scaled
from benchmarks.suite.entries import ENTRIES
from benchmarks.suite.figures import Figures, FiguresError, Record

README = "readme"
"""Name of the block with those figures of all benchmarks that the README quotes."""

MISSING = "–"
"""Cell of a figure that has not been measured."""

_COMPARISON_HEADING = ("what", "figure", "against", "figure", "ratio")

_BUSY_CORES = 0.2
"""Other work that is worth a remark, in cores."""

_ROUNDED_FROM = 9.95
"""Ratios from here on have one digit after the decimal point instead of two."""

_INSTRUCTIONS = {"amx_bf16": "AMX", "avx512_bf16": "AVX-512 for bfloat16", "avx512f": "AVX-512", "avx2": "AVX2"}
"""Names of instruction sets, the fastest first."""

_ELEMENTS = {"selected": "name", "decoded": "frames", "scored": "logits", "reduced": "what counting needs of them"}
"""What a video is between steps, by its name in the results of `benchmarks.scale`."""

_BY_NAME = {entry.name: entry for entry in ENTRIES}


def table(name: str, figures: Figures) -> str:
    """Returns the Markdown of a block: a table, and a line that says on which machine and when it was measured.

    Args:
      name: Name of the block: of an entry, or `README`.
      figures: All records.

    Raises:
      FiguresError: There is no such block.
    """
    if name == README:
        return _readme(figures)
    if name not in _BY_NAME:
        raise FiguresError(f"a block must name one of {', '.join((README, *_BY_NAME))}. Received: {name}")
    entry, record = _BY_NAME[name], figures.get(name)
    if record is None:
        return f"`{entry.command}`: not measured yet."
    rows = _GRIDS[name](record) if name in _GRIDS else markdown_table(_COMPARISON_HEADING, rows_of(entry.comparisons, record))
    other = f", of which other work kept {record.other_cores:.1f} busy" if _is_busy(record) else ""
    return f"{rows}\n\n`{record.command}`: measured on {describe_machine(record.machine)}{other}, {record.date}."


def describe_machine(machine: Mapping[str, Any]) -> str:
    """Returns a machine in words, such as "2 cores of AMD EPYC with AVX2"."""
    best = next((name for flag, name in _INSTRUCTIONS.items() if flag in machine["matrix_flags"]), "")
    return f"{machine['cores']} cores of {machine['processor']}{best and f' with {best}'}"


def rows_of(comparisons: Iterable[Comparison], record: Record) -> Iterator[tuple[str, ...]]:
    """Yields the cells of each comparison: what, figure, against what, figure, ratio."""
    for comparison in comparisons:
        unit = f"\N{NO-BREAK SPACE}{comparison.unit}"
        cells = [_cell(comparison.ours, record.results, comparison.digits, unit), comparison.against, "", ""]
        if comparison.other:
            cells[2] = _cell(comparison.other, record.results, comparison.digits, unit)
            cells[3] = _ratio_cell(comparison, record.results)
        yield comparison.what, *cells


def markdown_table(heading: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Returns a Markdown table."""
    return "\n".join(f"| {' | '.join(cells)} |" for cells in (heading, ["---"] * len(heading), *rows))


def _cell(side: Side, results: Mapping[str, Any], digits: int = 0, unit: str = "") -> str:
    try:
        return f"{side(results):,.{digits}f}{unit}"
    except FiguresError:
        return MISSING


def _ratio_cell(comparison: Comparison, results: Mapping[str, Any]) -> str:
    assert comparison.other
    try:
        ratio = comparison.ratio.of(comparison.ours(results), comparison.other(results))
    except FiguresError:
        return MISSING
    return f"{ratio:,.{1 if ratio >= _ROUNDED_FROM else 2}f}{comparison.ratio.value}"


def _is_busy(record: Record) -> bool:
    return record.other_cores is not None and record.other_cores > _BUSY_CORES


def _readme(figures: Figures) -> str:
    rows: list[tuple[str, ...]] = []
    sources: dict[str, None] = {}  # keeps their order
    for entry in ENTRIES:
        chosen = [comparison for comparison in entry.comparisons if comparison.in_readme]
        record = figures.get(entry.name)
        if record and chosen:
            rows += rows_of(chosen, record)
            other = " that had other work" if _is_busy(record) else ""
            sources[f"{describe_machine(record.machine)}{other}, {record.date}"] = None
    measured = f"Measured on {'; '.join(sources)}." if sources else "Nothing is measured yet."
    return f"{markdown_table(_COMPARISON_HEADING, rows)}\n\n{measured}"


def _decoding(record: Record) -> str:
    videos: Mapping[str, Any] = record.results.get("msec_per_frame", {})
    alone, methods = figure("decode_only"), ("child_process", "exact", "in_process", "notebook")
    rows = [
        (
            video,
            _cell(inverse(figure("child_process"), 1000), msec),
            *(_cell(quotient(figure(method), alone), msec, 2, "×") for method in methods),
        )
        for video, msec in videos.items()
    ]
    last = ("time against decoding alone", "`--exact_decoding`", "in this process", "notebook's loop")
    return markdown_table(("video", "frames/s, one core", *last), rows)


def _devices(record: Record) -> str:
    scored: Sequence[Mapping[str, Any]] = record.results.get("results", ())
    rows = [
        (
            f"`{row.get('model', MISSING)}`",
            str(row.get("precision", MISSING)),
            _cell(figure("batch_frames"), row),
            _cell(figure("frames_per_sec"), row),
            _cell(scaled(figure("share_of_matrix_rate"), 100), row, unit=" %"),
        )
        for row in scored
    ]
    return markdown_table(("model", "number format", "frames in a batch", "frames/s", "share of the machine's rate"), rows)


def _scale(record: Record) -> str:
    nights: Mapping[str, Any] = record.results.get("nights", {})
    rows = [
        (
            f"{int(videos):,}",
            _cell(inverse(figure("seconds"), int(videos)), night),
            *(_cell(scaled(figure(f"{who}_bytes"), 2**-20), night, unit=" MiB") for who in ("runner", "worker")),
            _cell(scaled(figure("row_bytes"), 1 / int(videos) / 1000), night, 1, " kB"),
        )
        for videos, night in nights.items()
    ]
    last = ("memory of the runner", "memory of a worker", "rows in DuckDB, per video")
    sizes: Mapping[str, Any] = record.results.get("element_bytes", {})
    elements = [(text, _cell(figure(name), sizes)) for name, text in _ELEMENTS.items()]
    return "\n\n".join(
        [
            markdown_table(("videos", "videos/s", *last), rows),
            markdown_table(("a video of two seconds between steps, as", "bytes"), elements),
        ]
    )


_GRIDS: dict[str, Callable[[Record], str]] = {
    "decoding": _decoding,
    "devices": _devices,
    "devices-bfloat16": _devices,
    "scale": _scale,
}
"""Entries whose block is another table than their comparisons."""
