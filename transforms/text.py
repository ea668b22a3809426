"""Texts from strangers, such as names of files: as the tables store them, and as they are safe to print. Imports no Beam."""

from __future__ import annotations

import re

_LOGIN = re.compile(
    r"(?<![a-z0-9+.-])(?!gs://|file://)([a-z][a-z0-9+.-]*://)(?:[^/\s]*|[^/\s:@[]+:(?!\d*/)[^\s@]{0,4096}+)@", re.IGNORECASE
)
"""The login of a URL, with what is before it. A password may have a "/", unless what is before that could be a port."""

_QUERY = re.compile(r"(?<![a-z0-9+.-])((?:https?|ftps?)://?[^?#\s]{0,4096}+[?#])(\S*)", re.IGNORECASE)
"""The query or fragment of a URL, with what is before it. In other names, such as gs://BUCKET/NAME, "?" is a wildcard."""

_ENDS = "'\"])}>:.,;?…"
"""Signs after a URL that belong to the sentence."""


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
    return _QUERY.sub(_without_query, _LOGIN.sub(r"\1…@", text))


def _without_query(url: re.Match[str]) -> str:
    query = url[2].rstrip(_ENDS)
    return f"{url[1]}{'…' if query else ''}{url[2][len(query) :]}"
