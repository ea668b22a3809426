"""The base class of errors that a user can fix."""

from __future__ import annotations


class UserError(Exception):
    """An error in the input, the options or the environment that the user can fix.

    Its message is one line: what is wrong, what would be right, and what was received. A command prints it and ends with exit
    code 2.
    """
