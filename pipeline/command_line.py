"""The argument parser of all commands: errors in one line, `-` and `_` alike, and suggestions for misspelled names."""

from __future__ import annotations

import argparse
import difflib
import re
import shlex
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NoReturn

from model.errors import UserError
from transforms.text import without_secrets

_OPTION = re.compile(r"--[\w-]+")

_TABLES = re.compile(r"(duckdb|bigquery):|.*\.duckdb$")
"""What names tables, beyond doubt."""

_MOST_DIGITS = 18
"""Digits of the largest whole number that every table and library holds."""


class UsageError(UserError, ValueError):
    """Invalid command-line value."""


class CommandParser(argparse.ArgumentParser):
    """An argument parser for `repcount` and its commands.

    - An error is one line; `--help` shows the usage.
    - `--max-fps` and `--max_fps` are the same option.
    - A misspelled option or command gets a suggestion.
    - Every parser has `-v` and `-q`, so that they work before and after the command.
    - The parsed arguments have `prog`, such as "repcount model fetch", for messages.

    Attributes:
      quoting_options: Options whose value is other options, in one argument.
    """

    quoting_options: Collection[str] = ()

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        """Takes what ArgumentParser takes, and `examples`: command lines to show at the end of the help."""
        if examples:
            kwargs |= {"epilog": "\n  ".join(["examples:", *examples]), "formatter_class": _ExamplesFormatter}
        super().__init__(*args, **{"allow_abbrev": False, **kwargs})
        self._unknown_options: list[str] = []
        self._stray_words: list[str] = []
        self.set_defaults(prog=self.prog)
        messages = self.add_mutually_exclusive_group()
        messages.add_argument(
            "-v", "--verbose", action="store_true", default=argparse.SUPPRESS, help="show info messages and retries of clients"
        )
        messages.add_argument(
            "-q", "--quiet", action="store_true", default=argparse.SUPPRESS, help="show results and errors only"
        )

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses arguments after spelling their options as they were added."""
        words = use_known_spelling(_join(args or [], self.quoting_options), self._option_string_actions)
        options = [name for word in words if (name := word.partition("=")[0]).startswith("--")]
        self._unknown_options = [name for name in options if name not in self._option_string_actions]
        self._stray_words = [] if self._get_positional_actions() else self._find_stray_words(words)
        return super().parse_known_args(words, namespace)

    def error(self, message: str) -> NoReturn:
        """Prints one line and exits with code 2."""
        message = " ".join(message.split())
        hints = [
            f"Did you mean {near} instead of {name}?"
            for name in self._unknown_options
            if (near := self.suggest(name)) and {near, name} & set(_OPTION.findall(message))  # Beam may know the others
        ]
        missing = re.search(rf"required: ({_OPTION.pattern})", message)
        if missing and self._stray_words and (missing[1] == "--input" or _TABLES.match(self._stray_words[0])):
            hints.append(f"Did you mean {missing[1]} {shlex.quote(self._stray_words[0])}?")
        if not message.endswith("?"):
            command = self.prog.partition(" --")[0]  # without the option whose value is parsed, as that of --compare
            message = f"{message.rstrip('.')}. {hints[0] if hints else f'See {command} --help.'}"
        self.exit(2, f"{self.prog}: {without_secrets(message)}\n")

    def _find_stray_words(self, words: Sequence[str]) -> list[str]:
        """Returns the words that are neither options nor their values. An option that is not known may have a value."""
        stray, takes_value = [], False
        for word in words:
            if word.startswith("-"):
                action = self._option_string_actions.get(word)
                takes_value = "=" not in word and (action is None or action.nargs != 0)
            elif takes_value:
                takes_value = False
            else:
                stray.append(word)
        return stray

    def suggest(self, option: str) -> str | None:
        """Returns the visible option whose name is nearest to a misspelled one; None if none is near."""
        return nearest(option, self.visible_options())

    def visible_options(self) -> list[str]:
        """Returns the long names of the options that the help lists."""
        return [
            name
            for name, action in self._option_string_actions.items()
            if name.startswith("--") and action.help != argparse.SUPPRESS
        ]

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Adds a suggestion to argparse's message about a value that is not one of the choices."""
        if action.choices is not None and value not in action.choices:
            near = nearest(str(value), map(str, action.choices))
            choices = ", ".join(map(str, action.choices))
            hint = f" Did you mean {near}?" if near else ""
            raise argparse.ArgumentError(action, f"must be one of {choices}. Received: {value!r}.{hint}")


class _ExamplesFormatter(argparse.HelpFormatter):
    """Wraps text to the terminal's width, except for examples, whose lines it keeps."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        return text if text.startswith("examples:") else super()._fill_text(text, width, indent)


def _join(words: Sequence[str], names: Collection[str]) -> list[str]:
    """Returns words with these options and their values joined by "=": argparse takes no value that begins with "--"."""
    joined: list[str] = []
    for word in words:
        if joined and joined[-1] in names and word.startswith("--") and word != "--":
            joined[-1] += f"={word}"
        else:
            joined.append(word)
    return joined


def use_known_spelling(words: Sequence[str], known: Iterable[str]) -> list[str]:
    """Returns the words of a command line with each known option spelled as in `known`, whether it has `-` or `_`."""
    spellings = {name.replace("-", "_"): name for name in known}
    spelled: list[str] = []
    for number, word in enumerate(words):
        if word == "--":
            return [*spelled, *words[number:]]
        name, separator, value = word.partition("=")
        known_name = spellings.get(name.replace("-", "_"), name) if name.startswith("--") else name
        spelled.append(f"{known_name}{separator}{value}")
    return spelled


def nearest(name: str, known: Iterable[str], least: float = 0.6) -> str | None:
    """Returns the known name that is most similar to `name`, by a ratio from 0 to 1; None if none has at least that."""
    return next(iter(difflib.get_close_matches(name, list(known), n=1, cutoff=least)), None)


def number(text: str) -> float:
    """Parses a number, for argparse. Whether it may be NaN or infinite is for the check of its range to say."""
    try:
        return float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"must be a number such as 0.5. Received: {text!r}") from None


def natural_number(text: str, least: int = 0) -> int:
    """Parses a whole number of at least 0, or `least`, and of at most 18 digits, for argparse."""
    if len(text) > _MOST_DIGITS and text.isascii() and text.isdigit():
        raise argparse.ArgumentTypeError(
            f"must be a whole number of at most {_MOST_DIGITS} digits. Received: {text[:_MOST_DIGITS]}…"
        )
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least {least}. Received: {text!r}")
    return int(text)


def positive_whole_number(text: str) -> int:
    """Parses a whole number of at least 1, for argparse."""
    return natural_number(text, least=1)
