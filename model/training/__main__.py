"""`python -m model.training train FOLDER`: trains our own weights, or goes on with an interrupted run.

`python -m model.training export FOLDER WEIGHTS`: writes the weights of a run, whether finished or not, with their record.
"""

from __future__ import annotations

import argparse
import dataclasses
import typing
from pathlib import Path

from model.config import LITE, RepNetConfig
from model.storage import WeightsError
from model.training.train import TrainingSettings, export, train

_NETWORK_FIELDS = ("similarity", "similarity_rows", "layout_channels", "similarity_channels")
"""What of the network can be chosen on the command line, to find out what it gains."""


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
    network = train_parser.add_argument_group("network", "another than lite's, to find out what it gains; see RepNetConfig")
    kinds = typing.get_type_hints(RepNetConfig)
    for name in _NETWORK_FIELDS:
        default = getattr(LITE, name)
        choices = typing.get_args(kinds[name]) or None
        network.add_argument(f"--{name}", type=type(default), choices=choices, default=default, help=f"Default: {default}")
    export_parser = commands.add_parser("export", help="write a run's weights in the format that the program loads")
    export_parser.add_argument("folder", type=Path, help="of the run")
    export_parser.add_argument("weights", type=Path, help="file to write, ending with .safetensors")
    args = vars(parser.parse_args())
    command, folder = args.pop("command"), args.pop("folder")
    try:
        if command == "export":
            print(export(folder, args["weights"]))
        else:
            workers = args.pop("workers")
            config = dataclasses.replace(LITE, **{name: args.pop(name) for name in _NETWORK_FIELDS})
            train(TrainingSettings(**args), folder, config, workers=workers)
    except (ValueError, OSError, RuntimeError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {' '.join(str(error).split())}\n")


if __name__ == "__main__":
    main()
