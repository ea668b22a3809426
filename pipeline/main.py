"""The command `repcount`."""

from __future__ import annotations

import argparse
import logging
import sys
from collections.abc import Sequence

from pipeline import cost, count_command, evaluate_command, model_commands, run_command, tables_commands
from pipeline.options import OneLineParser


def main(argv: Sequence[str] | None = None) -> int:
    """Runs a command; returns its exit code.

    Args:
      argv: words of the command line. Default: the process's own.
    """
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(name)s: %(message)s")
    logging.getLogger().addFilter(_is_for_people)
    parser: argparse.ArgumentParser = OneLineParser(prog="repcount", description="Counts repetitions in videos.")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    run_command.add_parser(commands)
    count_command.add_parser(commands)
    evaluate_command.add_parser(commands)
    model_commands.add_parser(commands)
    tables_commands.add_tables_parser(commands)
    tables_commands.add_forget_parser(commands)
    cost.add_parser(commands)
    args, rest = parser.parse_known_args(argv)
    try:
        if args.command == "run":
            return run_command.run(args, rest)
        if rest:
            parser.error(f"no such option: {' '.join(rest)}")
        runs = {
            "cost": cost.run,
            "count": count_command.run,
            "evaluate": evaluate_command.run,
            "model": model_commands.run,
            "tables": tables_commands.run_tables,
            "forget": tables_commands.run_forget,
        }
        return runs[args.command](args)
    except KeyboardInterrupt:
        print("repcount: interrupted", file=sys.stderr)
        return 130


def _is_for_people(record: logging.LogRecord) -> bool:
    """Drops a note that Beam's RunInference makes on every machine without PyTorch, as if it could not measure memory."""
    return not record.getMessage().startswith("Resource module is not available")


if __name__ == "__main__":
    sys.exit(main())
