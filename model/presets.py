"""The models that have a name, and where their weights come from.

Weights of our own format are an HDF5 file `NAME.weights.h5`, which holds one float32 dataset for each variable under its
canonical name (see `model.checkpoint`), and `NAME.json` beside it: what network they are for, how it is to be used, where they
come from, and the file's hash, which is checked before anything is loaded. Keras' own layout names the datasets after classes
and attributes, which would tie the files to the code that wrote them.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from model import config, storage, tensorflow_import
from model.counting_options import CountingOptions, StrideRule
from model.storage import WeightsError

if TYPE_CHECKING:
    from model.network import RepNet

WEIGHTS_SUFFIX = ".weights.h5"
CACHE_VARIABLE = "REPCOUNT_CACHE"
DEFAULT_PRESET = "lite"

_SHIPPED_WEIGHTS = Path(__file__).parent / "weights"


@dataclasses.dataclass(frozen=True)
class RemoteFile:
    """A published file.

    Attributes:
      name: name in the folder.
      url: address.
      size_bytes: exact size.
      sha256: hash in hexadecimal.
    """

    name: str
    url: str
    size_bytes: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Preset:
    """A model and how it is used where nothing else is asked for.

    Attributes:
      name: what the command line calls it.
      config: sizes of its network.
      description: one line for people.
      strides: strides that it is scored at, in this order.
      counting: how its logits become counts.
      files: the published checkpoint, empty for a model of our own.
      core_score_fps: Frames that one processor core scores a second, in float32 with AVX2; see docs/performance.md. None: not
        measured.
    """

    name: str
    config: config.RepNetConfig
    description: str
    strides: tuple[int, ...]
    counting: CountingOptions = dataclasses.field(default_factory=CountingOptions)
    files: tuple[RemoteFile, ...] = ()
    core_score_fps: float | None = None

    @property
    def gflop_per_frame(self) -> float:
        """Floating-point operations per sampled frame, in billions; see `RepNetConfig.gflop_per_frame`."""
        return self.config.gflop_per_frame

    @property
    def checkpoint_name(self) -> str:
        """Name of the published checkpoint, such as "ckpt-88"; raises ValueError where there is none."""
        for file in self.files:
            if file.name.endswith(".index"):
                return file.name.removesuffix(".index")
        raise ValueError(f"the preset has no published checkpoint. Received: {self.name!r}")


@dataclasses.dataclass(frozen=True, eq=False)
class LoadedModel:
    """A network with its weights.

    Attributes:
      preset: what it is and how it is used; for a path, named after the file.
      network: float32, ready to score.
      sha256: hash of the configuration and of the weights' names, shapes and values (`checkpoint.model_sha256`), the same
        whatever file they lay in.
    """

    preset: Preset
    network: RepNet
    sha256: str


def _published(folder: str, *files: tuple[str, int, str]) -> tuple[RemoteFile, ...]:
    """Returns the files (name, size in bytes, sha256) of one folder of the public buckets."""
    base = f"https://storage.googleapis.com/{folder}"
    return tuple(RemoteFile(name, f"{base}/{name}", size_bytes, sha256) for name, size_bytes, sha256 in files)


_FILES_2020 = _published(
    "repnet_ckpt",
    ("ckpt-88.index", 13_172, "7298925db719060363cda1f6613eb6cd22726fcb74e6aa80dd269dcb137881b2"),
    ("ckpt-88.data-00000-of-00002", 93_435, "18ad640d3c1932514d3b8b08dd1f670c3e65d18d15c5dd11085a0053c77c49d8"),
    ("ckpt-88.data-00001-of-00002", 328_985_260, "6b2b49efead3ba566cf2b1589dd78c79337baee5c99f1b2274636cfc77c044d7"),
    ("checkpoint", 922, "1a57a2374543cfec1dba8cb721e47bbf466f4a8aea8213af3ae39e4e2ad2a06a"),
)
_FILES_2025 = _published(
    "semantic_repetitions/repnet_ckpt",
    ("ckpt-70.index", 10_209, "8b42d3dc13646b1ffe8f6bfa08c93e921566899329123109a30547147ba23967"),
    ("ckpt-70.data-00000-of-00001", 309_204_174, "6caf32eb28e089987ebc3d9ddf5e1e41c45d1c051eed6fd9635f97845956183d"),
    ("checkpoint", 33, "bb7639ce0ba1adbbc8a3f400e43f9c09a1a89989d8e65ae236648641f8f3d680"),
)

PRESETS: Mapping[str, Preset] = {
    preset.name: preset
    for preset in (
        Preset(
            name="lite",
            config=config.LITE,
            description="our own small RepNet, trained from drawn clips; shipped with the program",
            strides=(1, 2, 3, 4, 6, 8, 12),
            counting=CountingOptions(stride_rule=StrideRule.VOTE, video_threshold=0.0, frame_threshold=0.14, peak_share=0.4),
            core_score_fps=318.0,
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
"""Presets by name, the default first. Hashes of the published files were recorded by third parties."""


def find_preset(name: str) -> Preset:
    """Returns the preset; raises WeightsError, which names them all, if there is none of that name."""
    if name not in PRESETS:
        raise WeightsError(f"the models with a name are {', '.join(PRESETS)}. Received: {name!r}")
    return PRESETS[name]


def find_published(index_sha256: str) -> Preset | None:
    """Returns the preset whose published checkpoint has an index file of that hash; None if there is none."""
    return next((preset for preset in PRESETS.values() if index_sha256 in {file.sha256 for file in preset.files}), None)


def default_cache_dir() -> Path:
    """Returns where fetched models are kept: $REPCOUNT_CACHE, else repcount in the user's cache folder."""
    if chosen := os.environ.get(CACHE_VARIABLE):
        return Path(chosen)
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repcount"


def weights_path(preset: Preset, cache_dir: Path | None = None) -> Path:
    """Returns where the weights of a preset lie, or would lie once fetched."""
    folder = (cache_dir or default_cache_dir()) if preset.files else _SHIPPED_WEIGHTS
    return folder / f"{preset.name}{WEIGHTS_SUFFIX}"


def sidecar_path(weights: Path) -> Path:
    """Returns the JSON file that goes with a weights file."""
    return weights.with_name(weights.name.removesuffix(WEIGHTS_SUFFIX) + ".json")


def load_model(name_or_path: str, cache_dir: Path | None = None) -> LoadedModel:
    """Loads a model by name or from a file; TensorFlow, which takes seconds, is imported once the files are found to be there.

    Args:
      name_or_path: a preset's name; or, on the local disk or `gs://`, a `.weights.h5` file with its sidecar or the prefix of a
        published TensorFlow 2 checkpoint, whose kind is told by the shape of `pos_encoding`.
      cache_dir: where fetched presets lie. Default: `default_cache_dir()`.

    Raises:
      WeightsError: there is no such model, or its weights are missing, damaged or of another network.
    """
    if name_or_path in PRESETS:
        return _load_preset(PRESETS[name_or_path], cache_dir)
    if name_or_path.endswith(WEIGHTS_SUFFIX):
        if storage.is_remote(name_or_path):
            stem = name_or_path.removesuffix(WEIGHTS_SUFFIX)
            with storage.staged(stem, lambda rest: rest in (WEIGHTS_SUFFIX, ".json")) as local:
                return load_weights(local.with_name(local.name + WEIGHTS_SUFFIX))
        return load_weights(Path(name_or_path))
    if storage.is_remote(name_or_path) or os.path.isfile(f"{name_or_path}.index"):
        return _load_checkpoint(name_or_path)
    raise WeightsError(
        f"a model is one of {', '.join(PRESETS)}, or the path of a {WEIGHTS_SUFFIX} file or of a TensorFlow 2 checkpoint "
        f"(PREFIX, where PREFIX.index exists). Received: {name_or_path!r}"
    )


def load_weights(path: Path) -> LoadedModel:
    """Loads a weights file of our own format; strides and counting are those of its sidecar.

    Raises:
      WeightsError: a file is missing or cannot be read, the hash differs, or the variables are others than the network's of the
        sidecar.
    """
    sidecar = read_sidecar(path)
    check_weights(path, sidecar)
    try:
        sizes = dict(sidecar["config"], encoder_channels=tuple(sidecar["config"]["encoder_channels"]))
        preset = Preset(
            name=sidecar["name"],
            config=config.RepNetConfig(**sizes),
            description=sidecar["description"],
            strides=tuple(sidecar["strides"]),
            counting=CountingOptions(**sidecar["counting"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        reason = f"{type(error).__name__} {error}"
        raise WeightsError(
            f"the JSON file beside the weights says something else ({reason}). Received: {str(path)!r}"
        ) from error
    arrays = read_arrays(path)
    tensorflow_import.import_tensorflow()
    from model import checkpoint
    from model.network import RepNet

    network = RepNet(preset.config)
    checkpoint.assign(network, arrays)
    return LoadedModel(preset, network, checkpoint.model_sha256(preset.config, arrays))


def read_arrays(path: Path) -> dict[str, np.ndarray]:
    """Returns the arrays of a weights file by name; raises WeightsError if it cannot be read."""
    arrays: dict[str, np.ndarray] = {}

    def read(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset):
            arrays[name] = node[()]

    try:
        with h5py.File(path, "r") as file:
            file.visititems(read)
    except (OSError, RuntimeError) as error:
        raise WeightsError(f"the weights cannot be read: {' '.join(str(error).split())}. Received: {str(path)!r}") from error
    return arrays


def save_weights(
    path: Path,
    network: RepNet,
    preset: Preset,
    source: Mapping[str, Any] | None = None,
    training: Mapping[str, Any] | None = None,
) -> str:
    """Writes a network's weights in our own format.

    Each of the two files is replaced whole, the weights first. Whoever reads between the two, or after this was cut short just
    there, gets a WeightsError about damaged weights, never new weights with an old sidecar; saving again mends them.

    Args:
      path: ends with `.weights.h5`; the sidecar goes beside it.
      network: float32, of `preset.config`.
      preset: name, description, strides and counting go into the sidecar.
      source: where the weights come from, for the sidecar.
      training: how they were trained, for the sidecar.

    Returns:
      The hash of the model, see `LoadedModel`.

    Raises:
      WeightsError: the path ends otherwise, the network is of another configuration or has weights that are no numbers, or the
        disk refuses.
    """
    from model import checkpoint

    if not path.name.endswith(WEIGHTS_SUFFIX):
        raise WeightsError(f"a weights file ends with {WEIGHTS_SUFFIX}. Received: {str(path)!r}")
    if network.config != preset.config:
        raise WeightsError(f"the network must be of the preset's configuration. Received: {network.config}")
    arrays = network_arrays(network)
    if broken := [name for name, array in sorted(arrays.items()) if not np.isfinite(array).all()]:
        raise WeightsError(f"weights must be finite numbers. Received: others in {broken[0]} and {len(broken) - 1} more")
    partial = path.with_name(f".{os.getpid()}.{path.name}")
    partial_sidecar = sidecar_path(partial)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with h5py.File(partial, "w") as file:
            for name, array in sorted(arrays.items()):
                file.create_dataset(name, data=array)
        sidecar = {
            "name": preset.name,
            "description": preset.description,
            "config": dataclasses.asdict(preset.config),
            "strides": preset.strides,
            "counting": dataclasses.asdict(preset.counting),
            "sha256": storage.file_sha256(partial),
            "source": source or {},
            "training": training or {},
        }
        partial_sidecar.write_text(json.dumps(sidecar, indent=2) + "\n", encoding="utf-8")
        os.replace(partial, path)
        os.replace(partial_sidecar, sidecar_path(path))
    except (OSError, RuntimeError) as error:  # HDF5 raises either
        is_full = getattr(error, "errno", None) in storage.DISK_FULL
        reason = "the disk is full" if is_full else " ".join(str(error).split())
        raise WeightsError(f"the weights cannot be written: {reason}. Received: {str(path)!r}") from error
    finally:
        partial.unlink(missing_ok=True)
        partial_sidecar.unlink(missing_ok=True)
    return checkpoint.model_sha256(preset.config, arrays)


def read_sidecar(weights: Path) -> dict[str, Any]:
    """Returns what the JSON file beside a weights file says; raises WeightsError if either file is missing or it is damaged."""
    path = sidecar_path(weights)
    for file in (weights, path):
        if not os.path.isfile(file):
            raise WeightsError(f"weights are two files, {weights.name} and {path.name}. Received: no {str(file)!r}")
    return read_json(path)


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file; raises WeightsError if there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise WeightsError(f"the JSON file beside the weights cannot be read: {error}. Received: {str(path)!r}") from error
    if not isinstance(content, dict):
        raise WeightsError(f"the JSON file beside the weights must hold one object. Received: {str(path)!r}")
    return content


def network_arrays(network: RepNet) -> dict[str, np.ndarray]:
    """Returns the float32 values of a network's variables by canonical name."""
    return {name: np.asarray(variable, np.float32) for name, variable in network.variables_by_name().items()}


def check_weights(path: Path, sidecar: Mapping[str, Any]) -> None:
    """Raises WeightsError unless the weights file can be read and has the hash that its sidecar states."""
    found = _file_sha256(path)
    if found != sidecar.get("sha256"):
        raise WeightsError(
            f"the weights are damaged: their sha256 must be {sidecar.get('sha256')}. Received: {found} of {str(path)!r}"
        )


def _file_sha256(path: Path) -> str:
    """Returns the hash of a file; raises WeightsError if it cannot be read."""
    try:
        return storage.file_sha256(path)
    except OSError as error:
        raise WeightsError(f"the weights cannot be read: {' '.join(str(error).split())}. Received: {str(path)!r}") from error


def _load_preset(preset: Preset, cache_dir: Path | None) -> LoadedModel:
    path = weights_path(preset, cache_dir)
    if preset.files and not (os.path.isfile(path) and os.path.isfile(sidecar_path(path))):
        raise WeightsError(
            f"the weights of {preset.name} are not on this machine: run `repcount model fetch {preset.name}`. "
            f"Received: no {str(path)!r}"
        )
    loaded = load_weights(path)
    if loaded.preset.config != preset.config:
        raise WeightsError(
            f"the weights must be of the network of {preset.name}. Received: {loaded.preset.config} in {str(path)!r}"
        )
    if preset.files:
        return dataclasses.replace(loaded, preset=preset)
    # Training chooses the strides and thresholds of our own models.
    return dataclasses.replace(
        loaded, preset=dataclasses.replace(loaded.preset, name=preset.name, description=preset.description)
    )


def _load_checkpoint(prefix: str) -> LoadedModel:
    tensorflow_import.import_tensorflow()
    from model import checkpoint
    from model.network import RepNet

    with checkpoint.local_prefix(prefix) as local:
        arrays = checkpoint.read_checkpoint(local, shown_as=prefix)
        index_sha256 = _file_sha256(Path(f"{local}.index"))
    found = arrays["pos_encoding"].shape if "pos_encoding" in arrays else None
    for preset in PRESETS.values():
        if preset.files and found == (1, config.WINDOW_FRAMES, preset.config.position_channels):
            network = RepNet(preset.config)
            checkpoint.assign(network, arrays, ignore_unexpected=find_published(index_sha256) is preset)
            named = dataclasses.replace(preset, name=prefix.rsplit("/", 1)[-1], description=f"{preset.name} from {prefix}")
            return LoadedModel(named, network, checkpoint.model_sha256(preset.config, network_arrays(network)))
    raise checkpoint.CheckpointError(
        f"a published RepNet has pos_encoding of shape (1, 64, 1) or (1, 64, 512). Received: {found or 'none'} in {prefix!r}"
    )
