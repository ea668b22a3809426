"""A decoder process that takes FFmpeg's software decoders for a GPU. What goes wrong there depends on the width of a video."""

import os
import time

from tests.support.gpus import SoftwareGpu
from transforms.decoding import child as decoder_child
from transforms.decoding import sandbox

CRASHES, HANGS, FAILS = 322, 324, 326
"""Widths in pixels of videos whose fifty-first frame ends the process, never comes, or is an error."""


class _FaultyGpu(SoftwareGpu):
    def open(self, stream):
        context = super().open(stream)
        return _FaultyContext(context, stream.width) if stream.width in (CRASHES, HANGS, FAILS) else context


class _FaultyContext:
    def __init__(self, context, width):
        self._context = context
        self._width = width
        self._num_frames = 0

    def __getattr__(self, name):
        return getattr(self._context, name)

    def decode(self, packet):
        frames = self._context.decode(packet)
        self._num_frames += len(frames)
        if self._num_frames > 50:
            if self._width == CRASHES:
                os.abort()
            if self._width == HANGS:
                time.sleep(3600)
            raise MemoryError
        return frames


if __name__ == "__main__":
    decoder_child.Gpu, decoder_child.load_driver = _FaultyGpu, list
    sandbox._restrict_files = lambda rules: True
    decoder_child.main()
