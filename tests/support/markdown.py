"""Reads the documentation's pages."""

from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def table_rows(page, heading):
    """Returns the rows of the first table whose first column has this heading: {first cell: the other cells}."""
    lines = (ROOT / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {heading} |"))
    rows = {}
    for line in lines[start + 2 :]:
        if not line.startswith("|"):
            break
        name, *cells = [cell.strip() for cell in line.strip("|").split(" | ")]
        rows[name.strip(" `")] = cells
    return rows
