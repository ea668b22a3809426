"""A model that is loaded once in a process, so that benchmarks do not measure loading."""

from __future__ import annotations

import functools

from model.tensorflow_import import import_tensorflow
from transforms.scoring import ChunkScorer


@functools.cache
def lite() -> ChunkScorer:
    """Returns a scorer of `lite` in float32 with its default strides; the same one at each call."""
    import_tensorflow()
    from model.precision import Precision
    from model.presets import load_model
    from model.scoring import Scorer

    loaded = load_model("lite")
    return Scorer(loaded.network, loaded.preset.strides, Precision("float32"), overlap_from=loaded.preset.overlap_from)
