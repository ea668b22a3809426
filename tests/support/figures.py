"""Makes a small file of benchmarks' figures, and a checkout whose pages quote it."""

from benchmarks.suite.figures import FILE, Record, merge_record

MACHINE = {"processor": "AMD EPYC", "cores": 2, "matrix_flags": ["avx2"], "system": "Linux", "python": "3.11.7"}

READING = {"5MB": {"client": 0.02, "beam": 0.05, "ratio": 2.5}, "100MB": {"client": 0.3, "beam": 0.72, "ratio": 2.4}}


def record(results, **fields):
    """Returns a record of a run that took 90 seconds."""
    known = {"command": "python -m benchmarks.reading", "date": "2026-01-31", "commit": "abc1234", "seconds": 90.0}
    return Record(**{**known, "other_cores": 0.0, "machine": MACHINE, "results": results, **fields})


def make_checkout(root, page="<!-- benchmarks: reading -->\n<!-- /benchmarks -->\n"):
    """Writes a file of figures of one benchmark, and a README with a page's text."""
    (root / "docs").mkdir()
    (root / "README.md").write_text(page, encoding="utf-8")
    merge_record(root / FILE, "reading", record(READING))
    return root
