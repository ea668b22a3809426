"""The models that have a name, and how models are loaded and saved."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from model import config, storage, tensorflow_import, weights_file
from model.counting_options import CountingOptions, StrideRule
from model.errors import WeightsError
from model.precision import ActivationRanges

if TYPE_CHECKING:
    from model.network import RepNet

CACHE_VARIABLE = "REPCOUNT_CACHE"
DEFAULT_PRESET = "lite"

_SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A file of a published checkpoint.

    Attributes:
      name: File name.
      url: URL to download it from.
      size_bytes: Exact size in bytes.
      sha256: SHA-256 hash in hexadecimal.
    """

    name: str
    url: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model, and how it is used by default.

    Attributes:
      name: Name on the command line.
      config: Sizes of the network.
      description: One line for people.
      strides: Strides in frames to score at, in order of preference if scores tie.
      counting: How logits become counts.
      overlap_from: Stride from which on windows overlap, see `model.logits`. 0: none do.
      repeat_below_fps: Frames a second below which each frame of a video is shown several times, see
        `model.logits.slow_repeats`. 0: never.
      files: Files of the published checkpoint that hold its variables; empty for a model of our own, whose weights come with
        the program.
      core_score_fps: Frames that one processor core with AVX2 scores a second, in the number format that "auto" chooses there;
        see docs/operations.md. None: not measured.
    """

    name: str
    config: config.RepNetConfig
    description: str
    strides: tuple[int, ...]
    counting: CountingOptions = dataclasses.field(default_factory=CountingOptions)
    overlap_from: int = 0
    repeat_below_fps: float = 0.0
    files: tuple[RemoteFile, ...] = ()
    core_score_fps: float | None = None

    def __post_init__(self) -> None:
        """Raises ValueError if a field has an impossible value."""
        if not all(isinstance(text, str) for text in (self.name, self.description)):
            raise ValueError(f"name and description must be texts. Received: {self.name!r} and {self.description!r}")
        whole = [stride for stride in self.strides if type(stride) is int and stride >= 1]
        if not whole or len(set(whole)) != len(self.strides):
            raise ValueError(f"strides must be different whole numbers of at least 1. Received: {self.strides!r}")
        if self.overlap_from < 0:
            raise ValueError(f"overlap_from must be at least 0. Received: {self.overlap_from!r}")
        if not 0 <= self.repeat_below_fps < float("inf"):
            raise ValueError(f"repeat_below_fps must be a number of frames a second, or 0. Received: {self.repeat_below_fps!r}")

    @property
    def gflop_per_frame(self) -> float:
        """Floating-point operations per sampled frame, in billions; see `RepNetConfig.gflop_per_frame`."""
        return self.config.gflop_per_frame

    @property
    def checkpoint_name(self) -> str:
        """Name of the published checkpoint, such as "ckpt-88"; raises ValueError if there is none."""
        for file in self.files:
            if file.name.endswith(".index"):
                return file.name.removesuffix(".index")
        raise ValueError(f"the preset has no published checkpoint. Received: {self.name!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class ModelFacts:
    """What a model is, without its network.

    Attributes:
      preset: What the model is and how it is used. For a checkpoint's path, named after the file.
      sha256: Hash of the configuration and of the weights' names, shapes and values (`weights_file.model_sha256`); the same for
        every kind of file.
      activation_ranges: Ranges of the network's activations, which scoring in int8 needs. None: not measured.
    """

    preset: Preset
    sha256: str
    activation_ranges: ActivationRanges | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel(ModelFacts):
    """A network with its weights.

    Attributes:
      network: The float32 network, ready to score.
    """

    network: RepNet = dataclasses.field(kw_only=True)


def _published(folder: str, *files: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    """Returns the files, given as (name, size in bytes, sha256), of a folder in a public bucket."""
    base = f"https://storage.googleapis.com/{folder}"
    return tuple(RemoteFile(name, f"{base}/{name}", size_bytes, sha256) for name, size_bytes, sha256 in files)


_FILES_2020 = _published(
    "repnet_ckpt",
    ("ckpt-88.index", 13_172, "7298925db719060363cda1f6613eb6cd22726fcb74e6aa80dd269dcb137881b2"),
    ("ckpt-88.data-00000-of-00002", 93_435, "18ad640d3c1932514d3b8b08dd1f670c3e65d18d15c5dd11085a0053c77c49d8"),
    ("ckpt-88.data-00001-of-00002", 328_985_260, "6b2b49efead3ba566cf2b1589dd78c79337baee5c99f1b2274636cfc77c044d7"),
)
_FILES_2025 = _published(
    "semantic_repetitions/repnet_ckpt",
    ("ckpt-70.index", 10_209, "8b42d3dc13646b1ffe8f6bfa08c93e921566899329123109a30547147ba23967"),
    ("ckpt-70.data-00000-of-00001", 309_204_174, "6caf32eb28e089987ebc3d9ddf5e1e41c45d1c051eed6fd9635f97845956183d"),
)

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="lite",
            config=config.LITE,
            description="our own small RepNet, trained on drawn clips; comes with the program",
            strides=(1, 2, 3, 4, 6, 8, 12),
            counting=CountingOptions(
                stride_rule=StrideRule.VOTE,
                video_threshold=0.0,
                frame_threshold=0.11,
                peak_share=0.2,
                certainty=(3.145, 1.546, -0.573, -2.534, -0.482),
            ),
            overlap_from=4,
            repeat_below_fps=20.0,
            core_score_fps=387.0,
        ),
        Preset(
            name="repnet-2020",
            config=config.REPNET_2020,
            description="the checkpoint published with the paper (ckpt-88)",
            strides=(1, 2, 3, 4),
            files=_FILES_2020,
            core_score_fps=20.0,
        ),
        Preset(
            name="repnet-2025",
            config=config.REPNET_2025,
            description="the authors' newer checkpoint (ckpt-70)",
            strides=(1, 2, 3, 4),
            files=_FILES_2025,
            core_score_fps=20.0,
        ),
    )
}
"""Presets by name, the default first. Hashes of the published files were recorded by third parties.

Strides and counting options hold whenever a preset is loaded by name. Those in the metadata of a weights file, written when it
was saved, hold when the file is loaded by path.
"""


def find_fetched(name: str) -> Preset:
    """Returns the preset of that name whose weights are fetched; raises WeightsError with the known names if it is none."""
    if name not in PRESETS or not PRESETS[name].files:
        names = " or ".join(preset.name for preset in PRESETS.values() if preset.files)
        raise WeightsError(f"the model must be {names}; others come with the program or are files. Received: {name!r}")
    return PRESETS[name]


def find_published(index_sha256: str) -> Preset | None:
    """Returns the preset whose published checkpoint has an index file with that hash, or None."""
    return next((preset for preset in PRESETS.values() if index_sha256 in {file.sha256 for file in preset.files}), None)


def default_cache_dir() -> Path:
    """Returns the folder of fetched models: $REPCOUNT_CACHE, else `repcount` in the user's cache folder.

    Raises:
      WeightsError: The user has no home, as in a container that runs as a user whom it does not know.
    """
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    try:
        return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcount"
    except RuntimeError as error:
        raise WeightsError(f"set {CACHE_VARIABLE} to a folder for fetched models. Received: no home folder") from error


def weights_path(preset: Preset) -> Path:
    """Returns where the weights of a preset are, or will be once fetched.

    A file of the previous format, NAME.weights.h5, is used if there is no newer one.
    """
    folder = default_cache_dir() if preset.files else _SHIPPED_WEIGHTS
    path, old = (folder / f"{preset.name}{suffix}" for suffix in (weights_file.SUFFIX, weights_file.OLD_SUFFIX))
    is_old = not path.is_file() and old.is_file() and weights_file.sidecar_path(old).is_file()
    return old if is_old else path


def load_model(name_or_path: str) -> LoadedModel:
    """Loads a model by name or from a file.

    TensorFlow, which takes seconds to import, is imported only once the files are found.

    Args:
      name_or_path: A preset's name; or a path, local or `gs://`, of a `.safetensors` file or of the prefix of a published
        TensorFlow 2 checkpoint. The shape of `pos_encoding` tells which published network a checkpoint is of.

    Raises:
      UserError: Keras has another backend than TensorFlow.
      WeightsError: There is no such model, or its weights are missing, damaged or of another network.
      StorageError: It is on Cloud Storage, which cannot be read.
    """
    if name_or_path in PRESETS:
        preset = PRESETS[name_or_path]
        return _make_network(*_read_preset(preset), weights_path(preset))
    if weights_file.is_weights_file(name_or_path):
        if not storage.is_remote(name_or_path):
            return load_weights(Path(name_or_path))
        stem, ending = name_or_path.removesuffix(weights_file.OLD_SUFFIX), weights_file.OLD_SUFFIX
        wanted = ("",) if stem == name_or_path else (ending, ".json")
        with storage.staged(stem, lambda rest: rest in wanted) as local:
            return load_weights(local if stem == name_or_path else local.with_name(local.name + ending))
    if storage.is_remote(name_or_path) or os.path.isfile(f"{name_or_path}.index"):
        return _load_checkpoint(name_or_path)
    raise WeightsError(
        f"a model is one of {', '.join(PRESETS)}, or the path of a {weights_file.SUFFIX} file or of a TensorFlow 2 checkpoint "
        f"(PREFIX, where PREFIX.index exists). Received: {name_or_path!r}"
    )


def read_facts(name_or_path: str) -> ModelFacts:
    """Returns what `load_model` would, but does not import TensorFlow for a preset, whose weights fit its network.

    Other weights are loaded: whether they fit is known only then.

    Raises:
      Exception: Whatever `load_model` raises.
    """
    if name_or_path not in PRESETS:
        return load_model(name_or_path)
    tensorflow_import.choose_backend()
    facts, _ = _read_preset(PRESETS[name_or_path])
    return facts


def load_weights(path: Path) -> LoadedModel:
    """Loads a weights file, with the strides and counting options in its metadata.

    Raises:
      WeightsError: The file is missing, unreadable or damaged, its metadata are impossible, its variables do not match the
        network there, or a weight is not finite.
    """
    return _make_network(*_read_weights(path), path)


def _read_weights(path: Path) -> tuple[ModelFacts, dict[str, np.ndarray]]:
    """Returns what the metadata of a weights file say, and its arrays."""
    metadata, arrays = weights_file.read(path)
    with weights_file.metadata_errors(path):
        preset = Preset(
            name=metadata["name"],
            config=config.RepNetConfig.from_json(metadata["config"]),
            description=metadata["description"],
            strides=tuple(metadata["strides"]),
            counting=CountingOptions(**metadata["counting"]),
            overlap_from=int(metadata.get("overlap_from", 0)),
            repeat_below_fps=float(metadata.get("repeat_below_fps", 0.0)),
        )
        ranges = ActivationRanges.from_json(metadata["activation_ranges"]) if metadata.get("activation_ranges") else None
    return ModelFacts(preset, weights_file.model_sha256(preset.config, arrays), ranges), arrays


def _make_network(facts: ModelFacts, arrays: Mapping[str, np.ndarray], path: Path) -> LoadedModel:
    """Returns the model of a weights file with its network."""
    tensorflow_import.import_tensorflow()
    from model import calibration, checkpoint
    from model.network import RepNet

    _check_finite(arrays)
    with weights_file.metadata_errors(path):
        network = RepNet(facts.preset.config)
    checkpoint.assign(network, arrays)
    if facts.activation_ranges:
        with weights_file.metadata_errors(path):
            calibration.check_ranges(network, facts.activation_ranges)
    return LoadedModel(facts.preset, facts.sha256, facts.activation_ranges, network=network)


def save_weights(
    path: Path,
    network: RepNet,
    preset: Preset,
    source: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
    activation_ranges: ActivationRanges | None = None,
) -> str:
    """Writes the weights of a network as a model of its own; an existing file is replaced once the new one is complete.

    Args:
      path: File to write; must end with `.safetensors`.
      network: A float32 network of `preset.config`.
      preset: Name, description, strides and counting options of the model, kept in the file's metadata.
      source: Where the weights come from, kept in the metadata.
      training: How they were trained, kept in the metadata.
      activation_ranges: Ranges of the network's activations, kept in the metadata. Default: none; it cannot score in int8.

    Returns:
      The model's hash, see `LoadedModel`.

    Raises:
      WeightsError: The path has another ending, the network has another configuration, a weight is not finite, or the disk is
        full or refuses.
    """
    if network.config != preset.config:
        raise WeightsError(f"the network must have the preset's configuration. Received: {network.config}")
    arrays = network_arrays(network)
    _check_finite(arrays)
    metadata = {
        "name": preset.name,
        "description": preset.description,
        "strides": preset.strides,
        "counting": dataclasses.asdict(preset.counting),
        "overlap_from": preset.overlap_from,
        "repeat_below_fps": preset.repeat_below_fps,
        "activation_ranges": dict(activation_ranges.layers) if activation_ranges else None,
        "source": source or {},
        "training": training or {},
    }
    return weights_file.write(path, preset.config, arrays, metadata)


def _check_finite(arrays: Mapping[str, np.ndarray]) -> None:
    """Raises WeightsError unless all weights are finite."""
    if broken := [name for name, array in sorted(arrays.items()) if not np.isfinite(array).all()]:
        raise WeightsError(f"weights must be finite. Received: other values in {broken[0]} and {len(broken) - 1} more")


def network_arrays(network: RepNet) -> dict[str, np.ndarray]:
    """Returns the float32 values of a network's variables by canonical name."""
    return {name: np.asarray(variable, np.float32) for name, variable in network.variables_by_name().items()}


def _read_preset(preset: Preset) -> tuple[ModelFacts, dict[str, np.ndarray]]:
    """Reads the weights of a preset; its strides and counting options are those in `PRESETS`."""
    path = weights_path(preset)
    if preset.files and not path.is_file():
        raise WeightsError(
            f"the weights of {preset.name} are not on this machine: run `repcount model fetch {preset.name}`. "
            f"Received: no {str(path)!r}"
        )
    facts, arrays = _read_weights(path)
    if facts.preset.config != preset.config:
        raise WeightsError(
            f"the weights must be of the network of {preset.name}. Received: {facts.preset.config} in {str(path)!r}"
        )
    return dataclasses.replace(facts, preset=preset), arrays


def _load_checkpoint(prefix: str) -> LoadedModel:
    tensorflow_import.import_tensorflow()
    from model import checkpoint
    from model.network import RepNet

    with checkpoint.local_prefix(prefix) as local:
        arrays = checkpoint.read_checkpoint(local, shown_as=prefix)
        index_sha256 = storage.file_sha256(Path(f"{local}.index"))
    found = arrays["pos_encoding"].shape if "pos_encoding" in arrays else None
    for preset in PRESETS.values():
        if preset.files and found == (1, config.WINDOW_FRAMES, preset.config.position_channels):
            network = RepNet(preset.config)
            checkpoint.assign(network, arrays, ignore_unexpected=find_published(index_sha256) is preset)
            named = dataclasses.replace(preset, name=prefix.rsplit("/", 1)[-1], description=f"{preset.name} from {prefix}")
            return LoadedModel(named, weights_file.model_sha256(preset.config, network_arrays(network)), network=network)
    raise checkpoint.CheckpointError(
        f"a published RepNet has pos_encoding of shape (1, 64, 1) or (1, 64, 512). Received: {found or 'none'} in {prefix!r}"
    )
