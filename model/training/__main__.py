"""`python -m model.training train FOLDER`: trains our own weights, or goes on with an interrupted run.

`python -m model.training export FOLDER WEIGHTS`: writes the weights of a run, whether finished or not, with their record.
"""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from model.storage import WeightsError
from model.training.train import TrainingSettings, export, train


def main() -> None:
    """Parses the command line and does it."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train_parser = commands.add_parser("train", help="train, or go on with an interrupted run")
    train_parser.add_argument("folder", type=Path, help="where the run is kept; an interrupted run in it is resumed")
    train_parser.add_argument("--workers", type=int, default=1, help="processes that draw clips. Default: 1")
    for field in dataclasses.fields(TrainingSettings):
        if isinstance(field.default, bool):
            train_parser.add_argument(f"--{field.name}", action="store_true", help=f"Default: {field.default}")
        else:
            train_parser.add_argument(
                f"--{field.name}", type=type(field.default), default=field.default, help=f"Default: {field.default or 'none'}"
            )
    export_parser = commands.add_parser("export", help="write a run's weights in the format that the program loads")
    export_parser.add_argument("folder", type=Path, help="of the run")
    export_parser.add_argument("weights", type=Path, help="file to write, ending with .weights.h5")
    args = vars(parser.parse_args())
    command, folder = args.pop("command"), args.pop("folder")
    try:
        if command == "export":
            print(export(folder, args["weights"]))
        else:
            workers = args.pop("workers")
            train(TrainingSettings(**args), folder, workers=workers)
    except (ValueError, OSError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {' '.join(str(error).split())}\n")


if __name__ == "__main__":
    main()
