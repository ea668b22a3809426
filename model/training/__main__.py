"""Trains our own weights, and exports them.

`python -m model.training train FOLDER` trains weights, or resumes an interrupted run.
`python -m model.training export FOLDER WEIGHTS` writes the weights of a run, finished or not, with their record.

It trains with TensorFlow, or with JAX where TensorFlow is not installed. KERAS_BACKEND=jax asks for JAX where both are.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import inspect
import os
import re
import typing
from pathlib import Path

from model.config import LITE, RepNetConfig
from model.errors import WeightsError, one_line
from model.presets import PRESETS
from model.training.settings import TrainingSettings

_NETWORK_FIELDS = ("similarity", "similarity_rows", "layout_channels", "similarity_channels")
"""Fields of the network that the command line can change, for ablation."""


def _describe_settings() -> dict[str, str]:
    """Returns what the documentation of `TrainingSettings` says about each field."""
    attributes = inspect.cleandoc(TrainingSettings.__doc__ or "").partition("Attributes:\n")[2]
    entries = re.findall(r"^  (\w+): (.*(?:\n    .*)*)", attributes, flags=re.MULTILINE)
    return {name: " ".join(text.split()).replace("%", "%%") for name, text in entries}


def main() -> None:
    """Parses the command line and runs the command."""
    parser = argparse.ArgumentParser(
        prog="python -m model.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    train_parser = commands.add_parser("train", help="train weights, or resume an interrupted run")
    train_parser.add_argument("folder", type=Path, help="folder of the run; an interrupted run in it is resumed")
    train_parser.add_argument("--workers", type=int, help="processes that draw clips. Default: as many as there are cores")
    described = _describe_settings()
    for field in dataclasses.fields(TrainingSettings):
        kind: dict[str, typing.Any] = {"type": type(field.default)}
        if isinstance(field.default, bool):
            kind = {"action": argparse.BooleanOptionalAction if field.default else "store_true"}
        default = "none" if field.default == "" else field.default
        text = f"{described[field.name]} Default: {default}"
        train_parser.add_argument(f"--{field.name}", **kind, default=field.default, help=text)
    network = train_parser.add_argument_group("network", "change parts of lite's network, for ablation; see RepNetConfig")
    kinds = typing.get_type_hints(RepNetConfig)
    for name in _NETWORK_FIELDS:
        default = getattr(LITE, name)
        choices = typing.get_args(kinds[name]) or None
        network.add_argument(f"--{name}", type=type(default), choices=choices, default=default, help=f"Default: {default}")
    export_parser = commands.add_parser("export", help="write a run's weights to a file that the program loads")
    export_parser.add_argument("folder", type=Path, help="folder of the run")
    export_parser.add_argument("path", metavar="weights", type=Path, help="file to write, ending with .safetensors")
    own = [name for name, preset in PRESETS.items() if not preset.files]
    export_parser.add_argument("--preset", choices=own, default="lite", help="preset that the weights are of. Default: lite")
    export_parser.add_argument(
        "--initial_share",
        type=float,
        default=0.0,
        help="share, 0 to 1, that the weights the run started from have in each weight, to keep what the run did not show. "
        "Default: 0",
    )
    export_parser.add_argument(
        "--certainty",
        type=float,
        nargs="+",
        default=(),
        metavar="NUMBER",
        help="coefficients that `python -m benchmarks.certainty --weights WEIGHTS` prints for the exported file. "
        "Default: none; counts then have no certainty",
    )
    args = vars(parser.parse_args())
    command, folder = args.pop("command"), args.pop("folder")
    if not importlib.util.find_spec("tensorflow"):
        os.environ.setdefault("KERAS_BACKEND", "jax")
    try:
        from model.training.train import export, train

        if command == "export":
            print(export(folder, **args))
        else:
            workers = args.pop("workers")
            if workers is not None and workers < 1:
                raise ValueError(f"workers must be at least 1. Received: {workers}")
            config = dataclasses.replace(LITE, **{name: args.pop(name) for name in _NETWORK_FIELDS})
            train(TrainingSettings(**args), folder, config, workers=workers)
    except KeyboardInterrupt:
        parser.exit(130, f"{parser.prog}: interrupted; the same command goes on from the last checkpoint\n")
    except (ValueError, OSError, RuntimeError, WeightsError) as error:
        parser.exit(2, f"{parser.prog}: {one_line(error)}\n")


if __name__ == "__main__":
    main()
