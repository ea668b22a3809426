"""The command `repcount`."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import logging
import os
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from typing import Any

from model.errors import UserError, one_line
from model.tensorflow_import import leave_out_unused
from pipeline.command_line import CommandParser, nearest
from pipeline.commands import ALIASES, COMMANDS
from pipeline.extras import explain_missing
from pipeline.interrupts import StopSignals
from pipeline.standard_streams import GuardedStream, OutputError, guard_streams
from transforms.machine_faults import MachineFaultError, causes
from transforms.text import printable, without_secrets

_NOISE = ("Resource module is not available", "No semi_persistent_directory found", "apitools not found")
"""Warnings that Beam prints on every machine without PyTorch, in every local worker process, and without the extra gcp."""

_REFUSED_JOB = ("trying to create job at dataflow service endpoint", "details of server error")
"""Errors that Beam logs of a job that Dataflow refuses, besides raising them."""

_NEED_TEMPORARY_FOLDER = ("count", "evaluate", "run", "serve")
"""Commands that copy videos, models or messages to a temporary folder."""

_HOME = re.compile(r"(?P<before>(?:--[\w-]+=)?(?:duckdb:)?)~/")
"""How a word of the command line begins whose path is in the home, and which the shell left as it is."""

_INTERRUPTED = 130
"""Exit code after Ctrl-C. After another signal it is 128 plus the signal's number."""

_BROKEN_PIPE = 141
"""Exit code of a command whose output nobody reads any more, as of any program that a broken pipe ends."""


def main(argv: Sequence[str] | None = None, **injected: Any) -> int:
    """Runs a command and returns its exit code.

    Args:
      argv: Words of the command line. Default: those of this process, whose standard streams are then guarded.
      **injected: Keyword arguments for the command's function. Tests and benchmarks replace its model this way.
    """
    if argv is not None:
        return _run_command(argv, None, injected)
    output, signals = guard_streams(), StopSignals()
    signals.install()
    try:
        exit_code = _run_command(sys.argv[1:], output, injected)
    except SystemExit as stop:  # argparse has printed a help text or a mistake
        exit_code = stop.code if isinstance(stop.code, int) else 0
    except OutputError:
        exit_code = 0
    is_result, output.raises = output.raises, False
    output.flush()
    if output.error and not isinstance(output.error, BrokenPipeError):  # a reader such as `head` may leave when it has enough
        print(f"repcount: cannot write to standard output: {output.error.strerror}", file=sys.stderr)
    if output.error and is_result:
        exit_code = exit_code or (_BROKEN_PIPE if isinstance(output.error, BrokenPipeError) else 1)
    if exit_code == _INTERRUPTED:  # Beam's threads could keep the program from ending
        os._exit(128 + signals.number)
    return exit_code


def _run_command(words: Sequence[str], output: GuardedStream | None, injected: Mapping[str, Any]) -> int:
    """Runs a command and returns its exit code; an error is one line on standard error.

    Args:
      words: Words of the command line.
      output: Standard output, if it is guarded. Of a command that stores its results, the exit code is about these alone.
      injected: Keyword arguments for the command's function.
    """
    prog = "repcount"
    try:
        args = parse(words)
        prog = args.prog
        if output and getattr(args, "stores_results", False) and not getattr(args, "dry_run", False):
            output.raises = False
        set_up_logging(verbose=getattr(args, "verbose", False), quiet=getattr(args, "quiet", False))
        _check_file_names()
        if args.command in _NEED_TEMPORARY_FOLDER:
            _check_temporary_folder()
        leave_out_unused()
        exit_code: int = args.run(args, **injected)
    except MachineFaultError as error:  # first, since a database that cannot be used is a UserError, too
        print(f"{prog}: {_one_line(error)}", file=sys.stderr)
        return 1
    except UserError as error:
        print(f"{prog}: {_one_line(error)}", file=sys.stderr)
        return 2
    except ModuleNotFoundError as error:
        print(f"{prog}: {explain_missing(error, words)}", file=sys.stderr)
        return 2
    except OSError as error:
        logging.getLogger(__name__).info("The command failed.", exc_info=True)
        print(f"{prog}: {_one_line(error)}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print(f"{prog}: interrupted", file=sys.stderr)
        return _INTERRUPTED
    return exit_code


def parse(words: Sequence[str]) -> argparse.Namespace:
    """Parses a command line; only the module of the chosen command is imported, since some take seconds.

    Returns:
      The command's options; `run` is its function, and `beam_args` holds what only Beam may know, for `repcount run`.
    """
    completing = "_ARGCOMPLETE" in os.environ
    typed = os.environ.get("COMP_LINE", "").split()[1:] if completing else words
    chosen = next((word for word in typed if not word.startswith("-")), "")
    parser = CommandParser(
        prog="repcount",
        description="Counts repetitions in videos.",
        examples=["repcount count squats.mp4", "repcount run --input 'videos/**.mp4' --output duckdb:counts.duckdb"],
    )
    parser.add_argument("--version", action="version", version=f"repcount {importlib.metadata.version('repcount')}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, summary in COMMANDS.items():
        if name == ALIASES.get(chosen, chosen):
            try:
                importlib.import_module(f"pipeline.commands.{name}").add_parser(commands)
            except ModuleNotFoundError as error:
                parser.exit(2, f"repcount {name}: {explain_missing(error, words)}\n")
        else:
            commands.add_parser(name, help=summary)
    if completing:
        import argcomplete

        argcomplete.autocomplete(parser)  # answers the shell, and exits
    if chosen and chosen not in {**COMMANDS, **ALIASES}:
        near = nearest(chosen, COMMANDS)
        hint = f" Did you mean {near}?" if near else ""
        parser.error(f"the command must be one of {', '.join(COMMANDS)}. Received: {chosen!r}.{hint}")
    args, args.beam_args = parser.parse_known_args([_expand_home(word) for word in words])
    if args.beam_args and chosen != "run":
        commands.choices[chosen].error(f"no such option: {' '.join(args.beam_args)}")
    return args


def _expand_home(word: str) -> str:
    """Returns a word with the home for "~", which shells leave in quotes and after "="; raises UserError if there is none."""
    found = _HOME.match(word)
    if found is None:
        return word
    home = os.path.expanduser("~/")
    if home == "~/":
        raise UserError(f"a path that begins with ~ needs a home folder: set HOME, or use another path. Received: {word!r}")
    return f"{found['before']}{home}{word[found.end() :]}"


def set_up_logging(verbose: bool = False, quiet: bool = False) -> None:
    """Sends log messages to standard error: warnings; with `verbose` also info; with `quiet` errors only."""
    logging.basicConfig(format="%(levelname)s %(name)s: %(message)s")
    root = logging.getLogger()
    root.setLevel(logging.INFO if verbose else logging.ERROR if quiet else logging.WARNING)
    for handler in root.handlers:
        handler.addFilter(_is_for_people)
        if not verbose:
            handler.addFilter(_is_no_known_error)
    # Google's clients look up facts about the account in threads of their own, and urllib3 warns of each retry. A request that
    # matters raises an error when its retries are used up.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.INFO if verbose else logging.ERROR)
    # Matplotlib warns of a home that is not writable, and of settings of the user that pictures do without.
    logging.getLogger("matplotlib").setLevel(logging.INFO if verbose else logging.ERROR)


def _is_for_people(record: logging.LogRecord) -> bool:
    """Returns False for Beam's messages that do not matter here."""
    message = record.getMessage()
    return not any(noise in message for noise in _NOISE)


def _is_no_known_error(record: logging.LogRecord) -> bool:
    """Returns False for what Beam logs of an error for which the command ends with one line that says all of it."""
    error, message = record.exc_info[1] if record.exc_info else None, record.getMessage()
    is_known = isinstance(error, (MachineFaultError, UserError)) or any(
        told in message for told in (MachineFaultError.__name__, *_REFUSED_JOB)
    )
    return not (is_known and record.name.startswith("apache_beam."))


def _check_file_names() -> None:
    """Raises UserError unless names of files are read as UTF-8. Else a file would get another name in the tables."""
    encoding = sys.getfilesystemencoding()
    if encoding != "utf-8":
        raise UserError(
            f"names of files must be read as UTF-8: set PYTHONUTF8=1 or a locale such as LC_ALL=C.UTF-8. Received: {encoding}"
        )


def _check_temporary_folder() -> None:
    """Raises UserError if there is no folder for temporary files."""
    try:
        tempfile.gettempdir()
    except OSError as error:
        raise UserError(
            f"set TMPDIR to a writable folder with free space for temporary files. Received: {error.strerror}"
        ) from error


def _one_line(error: Exception) -> str:
    if _lacks_current_folder() and any(isinstance(cause, FileNotFoundError) and not cause.filename for cause in causes(error)):
        return "the current folder was deleted: change to another one, or name files by their absolute paths"
    return without_secrets(printable(one_line(error)))


def _lacks_current_folder() -> bool:
    try:
        os.getcwd()
    except FileNotFoundError:
        return True
    return False


if __name__ == "__main__":
    sys.exit(main())
