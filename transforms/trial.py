"""Trial: decodes and scores one video in a process of its own, to see whether that kills the process. Does not import Beam."""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from transforms.decoding.decode_video import decode_or_fail
from transforms.decoding.options import DecodingOptions
from transforms.decoding.process import DecoderProcess
from transforms.failure_codes import signal_name
from transforms.import_path import import_path
from transforms.records import FrameChunk, VideoRef
from transforms.scoring import ChunkScorer, score_or_fail

_LOGGER = logging.getLogger(__name__)

_FROM_OUTSIDE = (signal.SIGHUP, signal.SIGINT, signal.SIGTERM)
"""Signals by which people and services end programs, so no video is to blame."""


def find_death(
    video: VideoRef,
    options: DecodingOptions,
    make_decoder: Callable[[], DecoderProcess],
    load_scorer: Callable[[], ChunkScorer] | None,
) -> str:
    """Returns how a process that decodes and scores only this video dies; "" if it ends by itself.

    A death of all processes, as of the whole machine, is not seen here. So it is not taken for the video's fault.

    Args:
      video: Video to try.
      options: How to decode it.
      make_decoder: Returns a new decoder. It must be picklable, as must `load_scorer`.
      load_scorer: Loads the model; None to decode only.
    """
    _LOGGER.warning(
        "Workers died while they worked on %r, or another run has it in flight; trying it in a process of its own.", video.uri
    )
    code = subprocess.run(
        # -P: Python would import modules from the current folder, which may be full of uploads.
        [sys.executable, "-P", "-m", __name__],
        input=pickle.dumps((video, options, make_decoder, load_scorer)),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": import_path()},
        check=False,
    ).returncode
    return signal_name(-code) if code < 0 and -code not in _FROM_OUTSIDE else ""


def main() -> None:
    """Does what a worker does with a video, and drops the results."""
    with contextlib.suppress(OSError):  # when memory runs out, the system ends this process rather than the worker
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    video, options, make_decoder, load_scorer = pickle.load(sys.stdin.buffer)
    scorer = load_scorer() if load_scorer else None
    with contextlib.closing(make_decoder()) as decoder:
        for item in decode_or_fail(video, options, decoder.read):
            if scorer is not None and isinstance(item, FrameChunk):
                score_or_fail(item, scorer)


if __name__ == "__main__":
    main()
