"""The command `repcount`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Callable, Sequence

from pipeline.commands import cost as cost_command
from pipeline.commands import count as count_command
from pipeline.commands import delete as delete_command
from pipeline.commands import evaluate as evaluate_command
from pipeline.commands import model as model_commands
from pipeline.commands import run as run_command
from pipeline.commands import tables as tables_command
from pipeline.options import OneLineParser, UsageError
from pipeline.results_table import printable
from transforms.warehouse.base import WarehouseError

_NOTES = ("Resource module is not available", "No semi_persistent_directory found")
"""Of RunInference on every machine without PyTorch, as if it could not measure memory; of local worker processes."""


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    Args:
      argv: words of the command line. Default: the process's own.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    for handler in logging.getLogger().handlers:
        handler.addFilter(_is_for_people)
    # Google's clients look up facts about the account in threads of their own, and urllib3 warns of each retry. A request that
    # matters raises an error when its retries are used up.
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    parser: argparse.ArgumentParser = OneLineParser(prog="repcount", description="Counts repetitions in videos.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run_command.add_parser(commands)
    count_command.add_parser(commands)
    evaluate_command.add_parser(commands)
    model_commands.add_parser(commands)
    tables_command.add_parser(commands)
    delete_command.add_parser(commands)
    cost_command.add_parser(commands)
    args, rest = parser.parse_known_args(argv)
    try:
        if args.command == "run":
            return run_command.run(args, rest)
        if rest:
            parser.error(f"no such option: {' '.join(rest)}")
        run: Callable[[argparse.Namespace], int] = args.run
        return run(args)
    except (UsageError, WarehouseError) as error:
        print(f"repcount {args.command}: {printable(str(error))}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("repcount: interrupted", file=sys.stderr)
        return 130


def _is_for_people(record: logging.LogRecord) -> bool:
    """Drops what Beam says on every machine, and its workers say after it, though nothing is amiss."""
    message = record.getMessage()
    return not any(note in message for note in _NOTES)


if __name__ == "__main__":
    sys.exit(main())
