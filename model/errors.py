"""Errors that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """An error in the input, the options or the environment that the user can fix.

    Its message is one line: what is wrong, what would be right, and what was received. A command prints it and ends with exit
    code 2.
    """


class WeightsError(UserError, ValueError):
    """A model name is unknown, or its weights are missing, damaged, of another network or cannot be written."""


def one_line(error: object) -> str:
    """Returns the message of an error, or another text, in one line."""
    return " ".join(str(error).split())
