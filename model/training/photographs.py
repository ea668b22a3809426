"""Photographs as textures of drawn clips: crops of the public-domain pictures that scikit-image ships."""

from __future__ import annotations

import importlib
from collections.abc import Sequence

import cv2
import numpy as np

PUBLIC_DOMAIN = (
    "astronaut",  # NASA, public domain
    "brick",  # CC0, CC0Textures
    "camera",  # CC0, Lav Varshney
    "chelsea",  # CC0, Stefan van der Walt
    "clock",  # public domain, Stefan van der Walt
    "coffee",  # CC0, Rachel Michetti
    "grass",  # CC0, linolafett
    "gravel",  # CC0, CC0Textures
    "hubble_deep_field",  # NASA, public domain
    "retina",  # CC0, Mikael Häggström
    "rocket",  # SpaceX, public domain
)
"""Functions of `skimage.data` whose documentation releases their picture into the public domain, or under CC0.

Its other pictures state less ("no known copyright restrictions"), or nothing.
"""

SHARE = 0.35
"""Share of textures that are crops of photographs."""

_LONGEST_SIDE = 640
_SMALLEST_CROP = 60


class PhotographsError(ValueError):
    """Photographs are asked for, and scikit-image is not installed."""


def load() -> tuple[np.ndarray, ...]:
    """Returns the photographs of `PUBLIC_DOMAIN`, each (height, width, 3) uint8, RGB, with sides of at most 640 pixels.

    Raises:
      PhotographsError: scikit-image is not installed.
    """
    try:
        data = importlib.import_module("skimage.data")
    except ImportError as error:
        raise PhotographsError(
            "photographs need scikit-image: install the extra `train`, or leave them out with --no-photographs. "
            f"Received: {error}"
        ) from error
    return tuple(_prepare(getattr(data, name)()) for name in PUBLIC_DOMAIN)


def _prepare(photograph: np.ndarray) -> np.ndarray:
    """Returns a photograph in colour and no larger than needed."""
    if photograph.ndim == 2:
        photograph = cv2.cvtColor(photograph, cv2.COLOR_GRAY2RGB)
    shrink = min(1.0, _LONGEST_SIDE / max(photograph.shape[:2]))
    return cv2.resize(photograph, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)


def crop(rng: np.random.Generator, photographs: Sequence[np.ndarray], size: int) -> np.ndarray:
    """Returns a random part of a photograph, (size, size, 3) float32 in 0..255: turned, mirrored, stretched and recoloured."""
    photograph = photographs[int(rng.integers(len(photographs)))]
    height, width = photograph.shape[:2]
    side = np.exp(rng.uniform(np.log(_SMALLEST_CROP), np.log(min(height, width))))
    stretch = np.exp(rng.normal(0, 0.25))
    tall, wide = (int(np.clip(length, 32, limit)) for length, limit in ((side * stretch, height), (side / stretch, width)))
    top, left = int(rng.integers(height - tall + 1)), int(rng.integers(width - wide + 1))
    interpolation = cv2.INTER_AREA if side > size else cv2.INTER_LINEAR
    part = cv2.resize(photograph[top : top + tall, left : left + wide], (size, size), interpolation=interpolation)
    part = np.rot90(part, int(rng.integers(1, 4)) if rng.random() < 0.3 else 0)
    part = (part[:, ::-1] if rng.random() < 0.5 else part).astype(np.float32)
    kind = rng.random()
    if kind < 0.3:
        part[:] = part.mean(axis=-1, keepdims=True)
    elif kind < 0.6:
        part = part[..., rng.permutation(3)]
    if rng.random() < 0.5:  # another contrast
        low, high = np.sort(rng.uniform(0, 255, 2))
        part = low + max(high - low, 40.0) * (part - part.min()) / max(float(np.ptp(part)), 1.0)
    return np.ascontiguousarray(np.clip(part * rng.uniform(0.75, 1.2, 3), 0, 255), np.float32)
