"""Texts from strangers, such as names of files: as the tables store them, and as they are safe to print. Imports no Beam."""

from __future__ import annotations


def valid_text(text: str) -> str:
    """Returns text as valid UTF-8. Lone surrogates, from file names that are not UTF-8, are escaped."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def printable(text: str) -> str:
    """Returns text that is safe to print. A file name may contain line breaks or terminal commands.

    Bytes that are not UTF-8 are escaped as in the tables.
    """
    return "".join(character if character.isprintable() else "\N{REPLACEMENT CHARACTER}" for character in valid_text(text))
