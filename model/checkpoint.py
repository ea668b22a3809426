"""Reads the published RepNet checkpoints, in TensorFlow 2's object-based format, and assigns their values to a network.

Such a checkpoint holds a graph of the saved objects and a table of their values. A variable's path is the names of the edges
that lead to it. The key of its value is only one of several possible paths, and files differ in which. For example, two edges
lead to an encoder layer, `layer-N` and `layer_with_weights-M`, and the published files use either in their keys. So the reader
follows edges, and gives each variable its canonical name, always with `layer_with_weights-M`.
"""

from __future__ import annotations

import collections
import contextlib
import os
import re
from collections.abc import Iterator, Mapping

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError
from tensorflow.core.protobuf.trackable_object_graph_pb2 import TrackableObjectGraph

from model import storage
from model.errors import WeightsError, one_line
from model.network import RepNet

_GRAPH_KEY = "_CHECKPOINTABLE_OBJECT_GRAPH"
_VALUE = "VARIABLE_VALUE"
_FILE_SUFFIX = re.compile(r"\.(index|data-\d{5}-of-\d{5})")
_LAYER_BY_WEIGHTS = re.compile(r"layer_with_weights-(\d+)")
_LAYER_BY_POSITION = re.compile(r"layer-(\d+)")
_NAMES_SHOWN = 5


class CheckpointError(WeightsError):
    """A checkpoint cannot be read, or does not fit the network."""


@contextlib.contextmanager
def local_prefix(prefix: str) -> Iterator[str]:
    """Yields a checkpoint's prefix on the local disk. Files from `gs://` are there until the context ends.

    Raises:
      storage.StorageError: Cloud Storage cannot be read.
    """
    if not storage.is_remote(prefix):
        yield prefix
        return
    with storage.staged(prefix, lambda rest: _FILE_SUFFIX.fullmatch(rest) is not None) as local:
        yield str(local)


def read_checkpoint(prefix: str, shown_as: str | None = None) -> dict[str, np.ndarray]:
    """Returns the variables of the checkpoint's model; other objects and the model's optimizer are left out.

    Args:
      prefix: Path without ".index", local or `gs://`.
      shown_as: Name for error messages. Default: `prefix`.

    Returns:
      float32 values by canonical name, such as "base_model/layer_with_weights-0/kernel" or "pos_encoding".

    Raises:
      CheckpointError: Files are missing, truncated or corrupt, or are not an object-based checkpoint with a model.
      storage.StorageError: Cloud Storage cannot be read.
    """
    shown = shown_as or prefix
    with local_prefix(prefix) as local:
        if not os.path.isfile(f"{local}.index"):
            name = os.path.basename(local)
            raise CheckpointError(f"no checkpoint has this prefix: there is no {name}.index. Received: {shown!r}")
        with _one_line_errors(shown):
            reader = tf.train.load_checkpoint(local)
            has_graph = reader.has_tensor(_GRAPH_KEY)
            graph = TrackableObjectGraph.FromString(reader.get_tensor(_GRAPH_KEY) if has_graph else b"")
        if not graph.nodes:
            raise CheckpointError(f"the checkpoint must be object-based; this one has no object graph. Received: {shown!r}")
        keys = _variable_keys(graph, shown)
        with _one_line_errors(shown):
            arrays = {name: reader.get_tensor(key) for name, key in keys.items()}
    for name, array in arrays.items():
        if array.dtype != np.float32:
            raise CheckpointError(f"variables must be float32. Received: {name} of {array.dtype} in {shown!r}")
    return arrays


@contextlib.contextmanager
def _one_line_errors(shown: str) -> Iterator[None]:
    """Turns the errors of TensorFlow and protobuf for broken files into a one-line CheckpointError.

    The reader raises TensorFlow's errors for some faults and Python's for others, such as IndexError for a truncated file.
    """
    try:
        yield
    except (tf.errors.OpError, DecodeError, OSError, LookupError, RuntimeError, ValueError) as error:
        reason = one_line(getattr(error, "message", error))
        raise CheckpointError(f"the checkpoint is incomplete or corrupt: {reason}. Received: {shown!r}") from error


def _variable_keys(graph: TrackableObjectGraph, shown: str) -> dict[str, str]:
    """Returns the value keys of all variables in the graph's model, by canonical name."""
    if missing := {edge.node_id for node in graph.nodes for edge in node.children} - set(range(len(graph.nodes))):
        raise CheckpointError(f"the checkpoint is corrupt: it has no node {min(missing)}. Received: {shown!r}")
    root = {edge.local_name: edge.node_id for edge in graph.nodes[0].children}
    if "model" not in root:
        raise CheckpointError(f"the checkpoint has no model, only {_some(sorted(root))}. Received: {shown!r}")
    keys: dict[str, str] = {}
    seen = {root["model"]}
    waiting = collections.deque([("", root["model"])])
    while waiting:
        path, node_id = waiting.popleft()
        for attribute in graph.nodes[node_id].attributes:
            if attribute.name == _VALUE:
                if path in keys:
                    raise CheckpointError(f"two variables have the name {path}. Received: {shown!r}")
                keys[path] = attribute.checkpoint_key
        for child_id, name in _canonical_edges(graph, node_id).items():
            is_optimizer = name == "optimizer" or graph.nodes[child_id].slot_variables
            if child_id not in seen and not is_optimizer:
                seen.add(child_id)
                waiting.append((f"{path}/{name}" if path else name, child_id))
    return keys


def _canonical_edges(graph: TrackableObjectGraph, node_id: int) -> dict[int, str]:
    """Returns {child: name}, one name per child: an attribute's name, else `layer_with_weights-M`.

    Keras numbers the layers with variables by M, in the order of N. So the unused values of M belong, in order, to the children
    that only have an edge `layer-N`.
    """
    names: dict[int, str] = {}
    by_position: dict[int, int] = {}
    for edge in graph.nodes[node_id].children:
        if position := _LAYER_BY_POSITION.fullmatch(edge.local_name):
            by_position[edge.node_id] = int(position[1])
        elif edge.node_id not in names or _LAYER_BY_WEIGHTS.fullmatch(names[edge.node_id]):
            names[edge.node_id] = edge.local_name
    taken = {int(found[1]) for name in names.values() if (found := _LAYER_BY_WEIGHTS.fullmatch(name))}
    nameless = [child for child in sorted(by_position, key=by_position.__getitem__) if child not in names]
    weighted = [child for child in nameless if _has_variables(graph, child)]
    free = (m for m in range(len(taken) + len(weighted)) if m not in taken)
    return names | {child: f"layer_with_weights-{m}" for child, m in zip(weighted, free, strict=False)}


def _has_variables(graph: TrackableObjectGraph, node_id: int) -> bool:
    seen, waiting = {node_id}, [node_id]
    while waiting:
        node = graph.nodes[waiting.pop()]
        if any(attribute.name == _VALUE for attribute in node.attributes):
            return True
        children = {edge.node_id for edge in node.children} - seen
        seen |= children
        waiting += children
    return False


def assign(network: RepNet, arrays: Mapping[str, np.ndarray], ignore_unexpected: bool = False) -> None:
    """Assigns a value to every variable of the network, or to none if they do not match one to one.

    Args:
      network: Network that takes the values.
      arrays: Values by canonical name, see `read_checkpoint`.
      ignore_unexpected: Whether to skip arrays without a variable in the network; for files known by their hash. (`ckpt-88` has
        5,209,600 values, one encoder, more than its network with two optimizer slots.)

    Raises:
      CheckpointError: Names are missing or unexpected, or shapes differ. The network is unchanged.
    """
    variables = network.variables_by_name()
    both = variables.keys() & arrays.keys()
    problems = {
        "missing": sorted(variables.keys() - arrays.keys()),
        "unexpected": [] if ignore_unexpected else sorted(arrays.keys() - variables.keys()),
        "of another shape": sorted(
            f"{name} {arrays[name].shape} instead of {tuple(variables[name].shape)}"
            for name in both
            if arrays[name].shape != tuple(variables[name].shape)
        ),
    }
    if any(problems.values()):
        found = "; ".join(f"{len(names)} {what}: {_some(names)}" for what, names in problems.items() if names)
        raise CheckpointError(f"the checkpoint must have exactly the network's {len(variables)} variables. Received: {found}")
    for name, variable in variables.items():
        variable.assign(arrays[name])


def _some(names: list[str]) -> str:
    """Returns the first few names, and how many more there are."""
    rest = len(names) - _NAMES_SHOWN
    return ", ".join(names[:_NAMES_SHOWN]) + (f" and {rest} more" if rest > 0 else "")
