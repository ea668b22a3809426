"""`repcount model export|fetch|list|summary|verify`: exports, fetches, lists, describes and verifies models."""

from __future__ import annotations

import argparse
import math
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from model import exported, presets, storage, tensorflow_import, weights_file
from model.errors import WeightsError
from model.precision import Precision
from model.presets import PRESETS, Preset
from pipeline.command_line import UsageError
from pipeline.options import add_export_options, effective_options, make_counting, make_model
from pipeline.progress_display import show_status
from pipeline.results_table import print_table, text_table
from transforms.decoding.options import DecodingOptions
from transforms.scoring import ModelConfig
from transforms.text import printable

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
"""Kinds of layers, and a pattern for the start of their variables' canonical names. Each different start is one layer."""


def add_parser(subparsers: argparse._SubParsersAction[argparse.ArgumentParser]) -> argparse.ArgumentParser:
    """Adds `model` and its five commands to the commands."""
    parser = subparsers.add_parser(
        "model",
        description="Lists, describes, fetches, verifies and exports models. See --help of each command.",
        examples=["repcount model list", "repcount model fetch repnet-2020"],
    )
    commands = parser.add_subparsers(dest="model_command", metavar="COMMAND", required=True)

    fetch = commands.add_parser(
        "fetch",
        help="download a published model",
        description="Downloads a published model, verifies every hash and keeps the network's weights. Files that an "
        "interrupted download completed are not fetched again. If the weights are there already, only verifies them. "
        "Exit code: 0; 2 if the model cannot be fetched.",
        examples=["repcount model fetch repnet-2020", "repcount model fetch repnet-2025 --to gs://my-models"],
    )
    published = " or ".join(name for name, preset in PRESETS.items() if preset.files)
    fetch.add_argument("name", metavar="NAME", help=published)
    fetch.add_argument(
        "--to",
        metavar="DIR|gs://…",
        help=f"folder for the weights. Default: ${presets.CACHE_VARIABLE}, else repcount in $XDG_CACHE_HOME or ~/.cache; "
        "--model NAME looks there",
    )
    fetch.set_defaults(run_model=run_fetch, stores_results=True)

    list_parser = commands.add_parser(
        "list",
        help="list the models that have a name",
        description="Lists the models that have a name, and where their weights are.",
        examples=["repcount model list", "repcount model list > models.txt"],
    )
    list_parser.set_defaults(run_model=run_list)

    summary = commands.add_parser(
        "summary",
        help="print a model's layers",
        description="Prints the layers of a model and the number of their parameters.",
        examples=["repcount model summary lite", "repcount model summary gs://my-models/ckpt-88"],
    )
    summary.add_argument(
        "name", metavar="NAME|PATH", help=f"{', '.join(PRESETS)}, or the path of a checkpoint or of an exported model"
    )
    summary.set_defaults(run_model=run_summary)

    verify = commands.add_parser(
        "verify",
        help="check a model's variables, hashes and numbers",
        description="Loads a model, checks the names, shapes and hash of its weights, and compares its output with golden "
        "files. Exit code: 0 if everything is equal, 1 if something differs, 2 for wrong usage or unreadable files.",
        examples=["repcount model verify lite", "repcount model verify ckpt-88 --golden golden_model_2020.npz"],
    )
    verify.add_argument("checkpoint", metavar="NAME|PATH", help=f"{', '.join(PRESETS)}, or the path of a checkpoint")
    verify.add_argument(
        "--golden",
        nargs="+",
        action="extend",
        default=[],
        type=Path,
        metavar="FILE.npz",
        help="golden files, which hold the expected output. Default: none",
    )
    verify.set_defaults(run_model=run_verify)
    _add_export(commands)
    parser.set_defaults(run=run)
    return parser


def _add_export(commands: argparse._SubParsersAction[Any]) -> None:
    export = commands.add_parser(
        "export",
        help="write a model that counts by itself in TensorFlow",
        description="Writes a model as a TensorFlow SavedModel, in float32. It takes frames and their times, and returns the "
        "count with its curve. Whoever loads it needs only TensorFlow; see docs/serving.md. Exit code: 0; 2 if the model "
        "cannot be loaded or written.",
        examples=["repcount model export lite exported/", "repcount model export lite exported/ --max_fps 15"],
    )
    export.add_argument("model", metavar="NAME|PATH", help=f"{', '.join(PRESETS)}, or the path of a checkpoint")
    export.add_argument("folder", metavar="DIR", help="folder for the model: a new one, or an empty one")
    add_export_options(export)
    export.set_defaults(
        run_model=run_export,
        stores_results=True,
        precision=Precision.FLOAT32.value,
        batch_frames=ModelConfig.batch_frames,
        require_gpu=False,
    )


def run(args: argparse.Namespace) -> int:
    """Runs `args.run_model`, one of the five commands, and returns its exit code; raises WeightsError or UsageError."""
    try:
        exit_code: int = args.run_model(args)
    except OSError as error:
        raise WeightsError(f"cannot read or write a file: {error}") from error
    return exit_code


def run_fetch(args: argparse.Namespace) -> int:
    """Fetches the published model `args.name`; raises WeightsError if that fails."""
    from model.fetch import fetch

    fetched = fetch(presets.find_fetched(args.name), args.to)
    print(f"{'up to date' if fetched.was_there else 'fetched'}: {printable(fetched.path)}")
    return 0


def run_export(args: argparse.Namespace) -> int:
    """Writes the model `args.model` to the folder `args.folder`; raises UsageError or WeightsError if that fails."""
    if storage.is_remote(args.folder):
        raise UsageError(f"DIR must be a folder of this machine; copy it from there. Received: {args.folder!r}")
    folder = Path(args.folder)
    exported.check_folder(folder)
    loaded = presets.load_model(args.model)
    config, counting = make_model(args, loaded), make_counting(args, loaded)
    given = args.repeat_below_fps
    try:
        decoding = DecodingOptions(
            max_fps=args.max_fps, repeat_below_fps=loaded.preset.repeat_below_fps if given is None else given
        )
    except ValueError as error:
        raise UsageError(str(error)) from error
    from model import export

    layers = summarize(loaded.network)
    metadata = {
        "name": config.name,
        "sha256": loaded.sha256,
        "precision": config.precision,
        "options": effective_options(decoding, config, counting),
        "parameters": sum(map(sum, layers.values())),
        "layers": layers,
    }
    with show_status(f"Exporting {args.model}"):
        counter = export.make_counter(
            loaded.network, config.strides, counting, decoding.max_fps, decoding.repeat_below_fps, config.overlap_from
        )
        export.save(counter, folder, metadata)
    print(f"exported: {printable(args.folder)}")
    return 0


def run_list(args: argparse.Namespace) -> int:
    """Lists the presets and where their weights are."""
    rows = [(preset.name, preset.description, _where(preset)) for preset in PRESETS.values()]
    print_table(text_table(("model", "description", "weights"), rows))
    return 0


def _where(preset: Preset) -> str:
    """Returns where the weights of a preset are, or what to do to get them."""
    try:
        path = presets.weights_path(preset)
    except WeightsError as error:  # no home
        return str(error)
    if path.is_file():
        return str(path)
    return f"repcount model fetch {preset.name}" if preset.files else "not in this installation"


def run_summary(args: argparse.Namespace) -> int:
    """Prints the layers of the model `args.name`. A preset needs no weights for it, an exported model only its metadata."""
    layers: Mapping[str, list[int]]
    if preset := PRESETS.get(args.name):
        tensorflow_import.import_tensorflow()
        from model.network import RepNet

        layers = summarize(RepNet(preset.config))
    elif exported.is_exported(Path(args.name)):
        layers = exported.read_metadata(Path(args.name))["layers"]
    else:
        layers = summarize(presets.load_model(args.name).network)
    rows = [(kind, f"{len(sizes)}", f"{sizes[0]:,}", f"{sum(sizes):,}") for kind, sizes in layers.items()]
    rows.append(("total", "", "", f"{sum(sum(sizes) for sizes in layers.values()):,}"))
    numbers = ("number", "parameters each", "parameters")
    print_table(text_table(("layer", *numbers), rows, numbers))
    return 0


def run_verify(args: argparse.Namespace) -> int:
    """Verifies the model `args.checkpoint` and compares it with the golden files `args.golden`.

    Returns:
      0, or 1 if a published file has changed or a number differs too much from a golden file.

    Raises:
      WeightsError: The model cannot be loaded.
      UsageError: A golden file cannot be read, or is of another network.
    """
    loaded = presets.load_model(args.checkpoint)
    variables = loaded.network.variables_by_name()
    parameters = sum(sum(sizes) for sizes in summarize(loaded.network).values())
    print(
        f"{printable(args.checkpoint)}: {len(variables)} variables with the right names and shapes; {parameters:,} parameters"
    )
    print(f"sha256 of configuration and weights: {loaded.sha256}")
    changed = _print_files(args.checkpoint)
    return max(changed, _compare(loaded, args.golden))


def _compare(loaded: presets.LoadedModel, paths: Iterable[Path]) -> int:
    """Prints a table for each golden file and returns the exit code; raises UsageError for an invalid golden file."""
    from model import golden

    exit_code = 0
    for path in paths:
        try:
            with show_status(f"Comparing with {path}"):
                differences = golden.compare(loaded, path)
        except golden.GoldenError as error:
            raise UsageError(str(error)) from error
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
    """Returns the number of parameters of each layer, by kind of layer, from the input to the outputs."""
    layers: dict[str, dict[str, int]] = {kind: {} for kind, _ in _LAYERS}
    for name, variable in network.variables_by_name().items():
        kind, layer = next((kind, found[0]) for kind, pattern in _LAYERS if (found := re.match(pattern, name)))
        layers[kind][layer] = layers[kind].get(layer, 0) + math.prod(variable.shape)
    return {kind: list(sizes.values()) for kind, sizes in layers.items() if sizes}


def _print_files(checkpoint: str) -> bool:
    """Prints whether the files of a loaded model are the published ones; returns whether one was changed."""
    index = Path(f"{checkpoint}.index")
    if checkpoint in PRESETS or weights_file.is_weights_file(checkpoint):
        print("files: undamaged, by the hash in their metadata")
        return False
    if storage.is_remote(checkpoint):
        print("files: not compared with the published ones, since they are not local")
        return False
    preset = presets.find_published(storage.file_sha256(index))
    if preset is None:
        print(f"files: {printable(index.name)} is not a published file")
        return False
    changed = [
        file.name
        for file in preset.files
        if (path := index.with_name(file.name)).is_file() and storage.file_sha256(path) != file.sha256
    ]
    state = f"DIFFERENT: {', '.join(changed)}" if changed else "unchanged"
    print(f"files: published files of {preset.name}, {state}")
    return bool(changed)
