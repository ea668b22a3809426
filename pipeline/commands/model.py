"""`repcount model fetch|list|summary|verify`: what models there are, what is in them, and whether their numbers are right."""

from __future__ import annotations

import argparse
import math
import re
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.text import Text

from model import presets, storage, tensorflow_import, weights_file
from model.presets import PRESETS, WeightsError
from pipeline.results_table import print_table, printable, text_table

if TYPE_CHECKING:
    from model.network import RepNet

_LAYERS = (
    ("encoder", r"base_model/"),
    ("3-D convolution", r"temporal_conv_layers/\d+/"),
    ("batch norm", r"temporal_bn_layers/\d+/"),
    ("layout", r"layout/"),
    ("similarity", r"similarity/"),
    ("2-D convolution", r"conv_3x3_layer/"),
    ("input projection", r"input_projection2?/"),
    ("positions", r"pos_encoding2?"),
    ("transformer layer", r"transformer_layers2?/\d+/"),
    ("dense", r"(within_period_)?fc_layers/[01]/"),
    ("dense to period logits", r"fc_layers/2/"),
    ("dense to periodicity logit", r"within_period_fc_layers/2/"),
    ("other", r""),
)
"""Kinds of layers and how the canonical names of their variables begin; each beginning is a layer of its own."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `model` and its four commands to the commands."""
    parser = subparsers.add_parser(
        "model",
        help="fetch, list, describe or verify models",
        description="Tells what models there are and what is in them, fetches the published ones, and verifies their numbers.",
    )
    commands = parser.add_subparsers(dest="model_command", metavar="COMMAND", required=True)

    fetch = commands.add_parser(
        "fetch",
        help="download a published checkpoint and keep what its network needs",
        description="Downloads a published checkpoint, takes up what an earlier attempt left, verifies every hash and keeps "
        "the network's weights. Does nothing but verify where they lie already.",
    )
    fetch.add_argument("name", metavar="NAME", help=" or ".join(name for name, preset in PRESETS.items() if preset.files))
    fetch.add_argument(
        "--to",
        metavar="DIR|gs://…",
        help=f"folder for the weights. Default: ${presets.CACHE_VARIABLE}, else ~/.cache/repcount, where --model NAME looks",
    )

    commands.add_parser("list", help="list the models that have a name", description="Lists the models that have a name.")

    summary = commands.add_parser(
        "summary", help="print a model's layers", description="Prints the layers of a model and their parameters."
    )
    summary.add_argument("name", metavar="NAME|PATH", help=f"{', '.join(PRESETS)}, or a checkpoint's path")

    verify = commands.add_parser(
        "verify",
        help="check a model's variables, hash and numbers",
        description="Loads a model, checks names, shapes and hash of its weights, and compares what it computes with golden "
        "files. Exit code: 0 equal, 1 not equal, 2 wrong usage or unreadable files.",
    )
    verify.add_argument("checkpoint", metavar="CHECKPOINT", help=f"{', '.join(PRESETS)}, or a checkpoint's path")
    verify.add_argument(
        "--golden", nargs="+", action="extend", default=[], type=Path, metavar="FILE.npz", help="golden files. Default: none"
    )
    parser.set_defaults(run=run)
    return parser


def run(args: argparse.Namespace) -> int:
    """Carries out `args.model_command`; returns the exit code."""
    commands = {"fetch": run_fetch, "list": run_list, "summary": run_summary, "verify": run_verify}
    try:
        return commands[args.model_command](args)
    except (WeightsError, OSError) as error:
        return _refuse(args.model_command, error)


def run_fetch(args: argparse.Namespace) -> int:
    """Fetches the published model `args.name`; raises WeightsError if it cannot be had."""
    from model.fetch import fetch

    fetched = fetch(presets.find_preset(args.name), args.to)
    print(f"{printable(fetched.path)} {'was there already, and is sound' if fetched.was_there else 'is there'}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Lists the presets and where their weights are."""
    rows = []
    for preset in PRESETS.values():
        path = presets.weights_path(preset)
        where = str(path) if path.is_file() else "not in this installation"
        if preset.files and not path.is_file():
            where = f"repcount model fetch {preset.name}"
        rows.append((preset.name, preset.description, where))
    print_table(text_table(("model", "description", "weights"), rows))
    return 0


def run_summary(args: argparse.Namespace) -> int:
    """Prints the layers of the model `args.name`; of a preset, whether or not its weights are there."""
    if preset := PRESETS.get(args.name):
        tensorflow_import.import_tensorflow()
        from model.network import RepNet

        network = RepNet(preset.config)
    else:
        network = presets.load_model(args.name).network
    layers = summarize(network)
    rows = [(kind, f"{len(sizes)}", f"{sizes[0]:,}", f"{sum(sizes):,}") for kind, sizes in layers.items()]
    rows.append(("total", "", "", f"{sum(sum(sizes) for sizes in layers.values()):,}"))
    numbers = ("number", "parameters each", "parameters")
    print_table(text_table(("layer", *numbers), rows, numbers))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Verifies the model `args.checkpoint`, with the golden files `args.golden` if there are any.

    Returns:
      0; 1 if a published file has changed or a number is too far from a golden one; 2 if a golden file cannot be
        read or was made with another network.

    Raises:
      WeightsError: the model cannot be loaded.
    """
    loaded = presets.load_model(args.checkpoint)
    variables = loaded.network.variables_by_name()
    parameters = sum(sum(sizes) for sizes in summarize(loaded.network).values())
    print(
        f"{printable(args.checkpoint)}: {len(variables)} variables, all of the right name and shape; {parameters:,} parameters"
    )
    print(f"sha256 of configuration and weights: {loaded.sha256}")
    changed = _print_files(args.checkpoint)
    return max(changed, _compare(loaded, args.golden))


def _compare(loaded: presets.LoadedModel, paths: Iterable[Path]) -> int:
    """Prints a table for each golden file; returns the exit code."""
    from model import golden

    exit_code = 0
    for path in paths:
        try:
            with Console(stderr=True).status(Text(f"Comparing with {printable(str(path))}")):
                differences = golden.compare(loaded, path)
        except golden.GoldenError as error:
            return _refuse("verify", error)
        cases: dict[str, list[golden.Difference]] = {}
        for difference in differences:
            cases.setdefault(difference.quantity, []).append(difference)
        rows = []
        for quantity, found in cases.items():
            worst = max(found, key=lambda difference: difference.largest)
            is_equal = all(difference.passes for difference in found)
            verdict = "equal" if is_equal else "NOT EQUAL"
            rows.append((quantity, f"{len(found)}", f"{worst.largest:.1e}", f"{worst.tolerance:g}", verdict))
            exit_code = exit_code if is_equal else 1
        print(f"\n{printable(str(path))}")
        print_table(text_table(("quantity", "cases", "largest difference", "allowed", ""), rows))
    return exit_code


def summarize(network: RepNet) -> Mapping[str, list[int]]:
    """Returns the parameters of every layer of a network by kind of layer, from its input to its outputs."""
    layers: dict[str, dict[str, int]] = {kind: {} for kind, _ in _LAYERS}
    for name, variable in network.variables_by_name().items():
        kind, layer = next((kind, found[0]) for kind, pattern in _LAYERS if (found := re.match(pattern, name)))
        layers[kind][layer] = layers[kind].get(layer, 0) + math.prod(variable.shape)
    return {kind: list(sizes.values()) for kind, sizes in layers.items() if sizes}


def _print_files(checkpoint: str) -> bool:
    """Prints what is known of the files of a loaded model; returns whether one differs from what was published."""
    index = Path(f"{checkpoint}.index")
    if checkpoint in PRESETS or weights_file.is_weights_file(checkpoint):
        print("files: undamaged, by the hash in their metadata")
        return False
    if storage.is_remote(checkpoint):
        print("files: not compared with the published ones, which only local files are")
        return False
    preset = presets.find_published(storage.file_sha256(index))
    if preset is None:
        print(f"files: {printable(index.name)} is not a published one")
        return False
    changed = [
        file.name
        for file in preset.files
        if (path := index.with_name(file.name)).is_file() and storage.file_sha256(path) != file.sha256
    ]
    state = f"{', '.join(changed)} must be as published" if changed else "as published"
    print(f"files: those of {preset.name}, {state}")
    return bool(changed)


def _refuse(command: str, error: Exception) -> int:
    """Prints one line about what is wrong; returns the exit code."""
    print(f"repcount model {command}: {printable(str(error))}", file=sys.stderr)
    return 2
