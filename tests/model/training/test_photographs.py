"""Photographs: those in the public domain, and random parts of them as textures."""

import importlib.util
import re
import sys
from pathlib import Path

import numpy as np
import pytest

from model.training import photographs
from model.training.clips import draw_batch
from model.training.drawing import draw_background


@pytest.fixture
def pictures():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, shape, np.uint8) for shape in ((90, 120, 3), (400, 300, 3))]


def test_every_photograph_is_released_by_its_documentation():
    found = importlib.util.find_spec("skimage")
    if found is None:
        pytest.skip("needs scikit-image, of the extra `train`")
    source = (Path(found.origin).parent / "data" / "_fetchers.py").read_text(encoding="utf-8")
    for name in photographs.PUBLIC_DOMAIN:
        (documentation,) = re.findall(rf'^def {name}\(.*?"""(.*?)"""', source, re.DOTALL | re.MULTILINE)
        assert re.search(r"CC0|public\s+domain", documentation, re.IGNORECASE), name


def test_photographs_are_in_colour_and_no_larger_than_needed():
    pytest.importorskip("skimage", reason="needs scikit-image, of the extra `train`")
    loaded = photographs.load()
    assert len(loaded) == len(photographs.PUBLIC_DOMAIN)
    for photograph in loaded:
        assert photograph.dtype == np.uint8
        assert photograph.shape[2] == 3
        assert 300 <= max(photograph.shape[:2]) <= 640


def test_without_scikit_image_the_error_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "skimage.data", None)
    with pytest.raises(photographs.PhotographsError, match=r"install the extra `train`.* --no-photographs.* Received: "):
        photographs.load()


@pytest.mark.parametrize("seed", range(20))
def test_a_crop_has_the_size_asked_for_and_is_the_same_again(pictures, seed):
    part = photographs.crop(np.random.default_rng(seed), pictures, 70)
    assert (part.shape, part.dtype) == ((70, 70, 3), np.float32)
    assert part.min() >= 0
    assert part.max() <= 255
    assert np.ptp(part) > 10
    np.testing.assert_array_equal(part, photographs.crop(np.random.default_rng(seed), pictures, 70))


def test_about_a_third_of_the_textures_are_photographs(pictures, monkeypatch):
    cropped = []
    monkeypatch.setattr(photographs, "crop", lambda rng, given, size: cropped.append(given) or np.zeros((size, size, 3)))
    for seed in range(200):
        draw_background(np.random.default_rng(seed), 20, pictures)
    assert 50 < len(cropped) < 90
    assert all(given is pictures for given in cropped)


def test_clips_show_photographs_only_if_asked_to(pictures):
    plain, again, shown = (draw_batch(5, 4, 1, photographs=given).frames for given in ((), (), pictures))
    np.testing.assert_array_equal(plain, again)
    assert (plain != shown).any()
