"""Runs the benchmarks and quotes their figures in the documentation.

    python -m benchmarks [--only NAME …]    runs them, one after another, and keeps their figures in docs/benchmarks.json
    python -m benchmarks --list             lists them
    python -m benchmarks render [--check]   writes the figures of that file into the documentation

A run also renders at its end. It goes on after a benchmark that fails; the exit code is then 1. `make bench` runs all, which
takes less than 30 minutes on two cores without other work.
"""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.suite.entries import ENTRIES, Entry
from benchmarks.suite.figures import FILE, ROOT, FiguresError, read_figures
from benchmarks.suite.rendering import outdated_pages, render
from benchmarks.suite.running import clock, run_entries
from model.precision import Precision, best_precision


def parse_args(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line; invalid values end the program with exit code 2."""
    parser = argparse.ArgumentParser(
        "python -m benchmarks", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("command", nargs="?", choices=("run", "render"), default="run", help="Default: run")
    parser.add_argument("--only", nargs="+", metavar="NAME", help="run only these benchmarks. Default: all")
    parser.add_argument("--list", action="store_true", help="print names, last durations and commands, and run nothing")
    parser.add_argument("--check", action="store_true", help="with render: write nothing; exit code 1 if a page is outdated")
    args = parser.parse_args(argv)
    by_name = {entry.name: entry for entry in ENTRIES}
    for name in args.only or ():
        if name not in by_name:
            parser.error(f"--only must be one or more of {', '.join(by_name)}. Received: {name}")
        if by_name[name].needs_bfloat16 and best_precision() != Precision.BFLOAT16 and args.command == "run" and not args.list:
            parser.error(f"--only {name} needs a processor with instructions that multiply bfloat16. This one has none")
    if args.check and args.command != "render":
        parser.error("--check goes with render")
    return args


def main(argv: Sequence[str] | None = None, root: Path = ROOT) -> int:
    """Runs, lists or renders; returns the exit code."""
    args = parse_args(argv)
    entries = [entry for entry in ENTRIES if not args.only or entry.name in args.only]
    try:
        if args.list:
            return _list(entries, root)
        if args.command == "render":
            return _check(root) if args.check else _render(root)
        failed = run_entries(entries, root / FILE, say=lambda line: print(line, flush=True))
        _render(root)
    except FiguresError as error:
        print(f"python -m benchmarks: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "Interrupted. Figures of benchmarks that ended are kept; `python -m benchmarks render` quotes them.",
            file=sys.stderr,
        )
        return 130
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


def _list(entries: Sequence[Entry], root: Path) -> int:
    records = read_figures(root / FILE)
    for entry in entries:
        lasted = clock(records[entry.name].seconds) if entry.name in records else ""
        print(f"{entry.name:16} {lasted:>6}  {entry.command}")
    print(f"{'all':16} {clock(sum(records[entry.name].seconds for entry in entries if entry.name in records)):>6}")
    return 0


def _render(root: Path) -> int:
    for page in render(root):
        print(f"wrote {page}")
    return 0


def _check(root: Path) -> int:
    pages = outdated_pages(root)
    for page in pages:
        print(f"{page} does not show the figures of {FILE}; `python -m benchmarks render` writes them", file=sys.stderr)
    return 1 if pages else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # which ends the running benchmark, too
    sys.exit(main())
