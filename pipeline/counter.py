"""Counting one video at a time in this process, without a pipeline and without tables."""

from __future__ import annotations

import argparse
import atexit
import contextlib
import dataclasses
import functools
import tempfile
from collections.abc import Callable, Generator

import numpy as np

from model.config import FRAME_SIZE, WINDOW_FRAMES
from model.counting_options import CountingOptions
from model.presets import LoadedModel, load_model
from pipeline.command_line import UsageError
from pipeline.options import check_decoder, check_sandbox, make_counting, make_decoding, make_model
from transforms.aggregation import aggregate
from transforms.decoding.decode_video import Reader, decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.evidence import ChunkEvidence, reduce_or_fail
from transforms.local_files import find_file
from transforms.records import Failure, FrameChunk, VideoCount, VideoRef
from transforms.scoring import FrameComparer, ModelConfig, score_or_fail


@dataclasses.dataclass(frozen=True)
class Counter:
    """A loaded model with the options to count with it.

    Attributes:
      decoding: How videos become frames. Chunks fit the scorer's strides.
      scorer: Network and strides.
      options: How logits become counts.
      model: Name, hash and precision of the scorer's network.
    """

    decoding: DecodingOptions
    scorer: FrameComparer
    options: CountingOptions
    model: ModelConfig


def load_counter(args: argparse.Namespace) -> Counter:
    """Loads the model that the options of `add_model_options` ask for.

    Raises:
      UsageError: An option is invalid, or this machine lacks what it asks for.
      WeightsError: The model cannot be loaded.
      StorageError: It is on Cloud Storage, which cannot be read.
    """
    return make_counter(args, load_model, ModelConfig.make_scorer)


def make_counter(
    args: argparse.Namespace,
    load: Callable[[str], LoadedModel],
    make_scorer: Callable[[ModelConfig, LoadedModel], FrameComparer],
) -> Counter:
    """Does what `load_counter` does, with functions that may keep what they return.

    Args:
      args: Options of `add_model_options`.
      load: Returns the model of a name or path.
      make_scorer: Returns a scorer of a loaded model.

    Raises:
      UsageError: As for `load_counter`.
      Exception: Whatever `load` raises.
    """
    check_sandbox(args)
    check_decoder(args)
    loaded = load(args.model)
    model = make_model(args, loaded)
    decoding, options = make_decoding(args, model.strides, loaded), make_counting(args, loaded)
    # This imports TensorFlow, which takes seconds: an invalid option is reported before.
    from model.devices import NoGpuError, prepare_gpus

    try:
        prepare_gpus(require=model.require_gpu)
        scorer = make_scorer(model, loaded)
    except (NoGpuError, ValueError) as error:  # int8 without what it needs
        raise UsageError(str(error)) from error
    return Counter(decoding, scorer, options, model)


def count_video(video: VideoRef, counter: Counter, watch: Callable[[FrameChunk], None] | None = None) -> VideoCount | Failure:
    """Decodes and scores one video chunk by chunk, up to its first failure, and aggregates the scores as the pipeline does.

    Args:
      video: Video to count.
      counter: Model and options to count it with.
      watch: Called with each chunk of frames, in their order, before it is scored. An error that it raises ends the count.
    """
    with contextlib.closing(_score_chunks(video, counter, _decoder().read, watch)) as evidence:
        return aggregate(video, evidence, counter.options)


def warm_up(counter: Counter) -> None:
    """Scores black frames and starts the decoder, so that the first video waits for neither.

    Raises:
      MachineFaultError: No decoder starts on this machine, or not with the sandbox that is required.
      Exception: The model cannot score.
    """
    frames = max(counter.model.strides) * WINDOW_FRAMES
    counter.scorer.score(np.zeros((frames, FRAME_SIZE, FRAME_SIZE, 3), np.uint8))
    with tempfile.NamedTemporaryFile(prefix="repcount-") as file:
        file.write(b"no video")
        file.flush()
        video = find_file(file.name)
        if video is not None:
            count_video(video, counter)


@functools.cache
def _decoder() -> DecoderProcess:
    """Returns the decoder of this process, which takes one video after the other."""
    decoder = DecoderProcess()
    atexit.register(decoder.close)
    return decoder


def _score_chunks(
    video: VideoRef, counter: Counter, read: Reader, watch: Callable[[FrameChunk], None] | None
) -> Generator[ChunkEvidence | Failure, None, None]:
    with contextlib.closing(decode_or_fail(video, counter.decoding, read)) as items:
        for item in items:
            if watch and isinstance(item, FrameChunk):
                watch(item)
            evidence = item if isinstance(item, Failure) else _score_chunk(item, counter)
            yield evidence
            if isinstance(evidence, Failure):  # the video fails, whatever its other chunks say
                return


def _score_chunk(chunk: FrameChunk, counter: Counter) -> ChunkEvidence | Failure:
    """Scores a chunk, and returns what counting needs of its scores."""
    scores = score_or_fail(chunk, counter.scorer)
    return scores if isinstance(scores, Failure) else reduce_or_fail(scores, counter.options, counter.model.period_offset)
