"""What the web pages of all commands share: how templates are filled in, and the files in `static/`.

Names and messages come from strangers. Every value in a page is escaped, and characters that cannot be printed are replaced.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup, escape

from transforms.text import printable

STATIC = Path(__file__).parent / "static"
"""Folder of the shared files. `base.css` has colours and type, `plot.js` has what both scripts of pages use."""

UNKNOWN = "–"
"""What a page shows for an unknown value."""


def make_environment(templates: Path) -> jinja2.Environment:
    """Returns an environment for the templates of a folder, which may also include the shared files.

    A name that a template lacks is an error. The filter `code` is `mark_code`.
    """
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader([templates, STATIC]),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_to_text,
    )
    environment.filters["code"] = mark_code
    return environment


def mark_code(text: str) -> Markup:
    """Returns Markdown that has no markup but code between backticks as HTML."""
    return Markup(re.sub(r"`([^`]*)`", r"<code>\1</code>", str(escape(text))))


def _to_text(value: Any) -> Any:
    """Returns what a template prints: characters that cannot be printed are replaced."""
    if isinstance(value, Markup) or not isinstance(value, str):
        return UNKNOWN if value is None else value
    return printable(value)
