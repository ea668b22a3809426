"""Texts from strangers, such as names of files: as the tables store them, and as they are safe to print. Imports no Beam."""

from __future__ import annotations

import re

_URL = re.compile(
    r"(?<![a-z0-9+.-])(?!gs://|file://)(?P<place>[a-z][a-z0-9+.-]*://)"
    r"(?P<login>[^/\s]*@)?(?P<path>[^?\s]*)(?P<query>\?\S*?(?=['\"\])}>:.,;…]*(?:\s|$)))?",
    re.IGNORECASE,
)
"""A URL in a text, without the signs that end its sentence. A "?" in a path, or in gs://BUCKET/NAME, is a wildcard."""


def valid_text(text: str) -> str:
    """Returns text as valid UTF-8. Lone surrogates, from file names that are not UTF-8, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Returns text that is safe to print. A file name may contain line breaks or terminal commands.

    Bytes that are not UTF-8 are escaped as in the tables.
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in valid_text(text))


def without_secrets(text: str) -> str:
    """Returns text with an ellipsis for the login and the query of each URL, where passwords, tokens and signatures are."""
    return _URL.sub(_without_secrets, text)


def _without_secrets(url: re.Match[str]) -> str:
    login, query = url["login"] and "…@", url["query"] and "?…"
    return f"{url['place']}{login or ''}{url['path']}{query or ''}"
