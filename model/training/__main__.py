"""`python -m model.training FOLDER`: trains our own weights, or goes on with an interrupted run."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

from model.training.train import TrainingSettings, train


def main() -> None:
    """Parses the command line and trains."""
    parser = argparse.ArgumentParser(prog="python -m model.training", description=__doc__)
    parser.add_argument("folder", type=Path, help="where the run is kept; an interrupted run in it is resumed")
    parser.add_argument("--workers", type=int, default=1, help="processes that draw clips. Default: 1")
    for field in dataclasses.fields(TrainingSettings):
        parser.add_argument(
            f"--{field.name}", type=type(field.default), default=field.default, help=f"Default: {field.default}"
        )
    args = vars(parser.parse_args())
    folder, workers = args.pop("folder"), args.pop("workers")
    train(TrainingSettings(**args), folder, workers=workers)


if __name__ == "__main__":
    main()
