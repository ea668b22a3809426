"""How frames are sampled from a video: the constants that `transforms.decoding` and exported models share."""

from __future__ import annotations

RATE_TOLERANCE = 1.05
"""Share of `max_fps` up to which every frame is kept."""

EARLY_SHARE = 0.25
"""Share of a step by which a frame may be early, since cameras do not keep exact time."""

USUAL_STEPS = 31
"""Steps from frame to frame whose median is the usual one there."""

DEFAULT_FPS = 30.0
"""Frames per second where neither the frame times nor the header say."""
