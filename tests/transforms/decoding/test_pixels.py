"""Frames of any pixel format keep their colours and become 112×112."""

import av
import cv2
import numpy as np
import pytest

from transforms.decoding.pixels import Orientation, resize_frame

PLANAR = ["yuv420p", "yuvj420p", "yuv422p", "yuv444p", "yuv410p", "yuva420p", "yuv420p10le", "yuv422p12le", "yuv444p16le"]

OTHER = ["rgb24", "bgr24", "bgra", "gbrp", "nv12", "p010le", "yuv420p10be", "yuyv422", "rgb48le"]

SPACES = [("ITU601", "MPEG"), ("ITU601", "JPEG"), ("ITU709", "MPEG"), ("ITU709", "JPEG"), ("SMPTE240M", "MPEG")]


def make_frame(image, pixels, matrix="ITU601", color_range="MPEG"):
    whole = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
    return whole.reformat(format=pixels, dst_colorspace=matrix, dst_color_range=color_range)


def draw_smooth(size):
    """Draws a smooth picture, (height, width, 3) uint8."""
    image = np.random.default_rng(0).integers(0, 256, (6, 8, 3)).astype(np.uint8)
    return cv2.resize(image, size, interpolation=cv2.INTER_CUBIC)


@pytest.mark.parametrize(("matrix", "color_range"), SPACES)
@pytest.mark.parametrize("pixels", PLANAR)
@pytest.mark.parametrize("colour", [(200, 100, 30), (20, 60, 220), (255, 255, 255), (0, 0, 0)])
def test_colours_are_kept(pixels, matrix, color_range, colour):
    frame = make_frame(np.broadcast_to(np.array(colour, np.uint8), (48, 64, 3)), pixels, matrix, color_range)
    image = resize_frame(frame, Orientation())
    assert (image.shape, image.dtype) == ((112, 112, 3), np.uint8)
    np.testing.assert_allclose(image.reshape(-1, 3), np.broadcast_to(colour, (112 * 112, 3)), atol=3)


@pytest.mark.parametrize("pixels", OTHER)
def test_other_memory_layouts_keep_their_colours(pixels):
    frame = make_frame(np.broadcast_to(np.array((200, 100, 30), np.uint8), (48, 64, 3)), pixels)
    np.testing.assert_allclose(resize_frame(frame, Orientation()).mean(axis=(0, 1)), (200, 100, 30), atol=4)


@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (63, 47), (300, 1000), (2, 2)])
def test_resizing_before_or_after_the_conversion_to_rgb_gives_the_same(size):
    image = draw_smooth(size)
    frame = make_frame(image, "yuv444p")
    rgb_first = cv2.resize(frame.reformat(format="rgb24").to_ndarray(), (224, 224), interpolation=cv2.INTER_LINEAR)
    rgb_first = cv2.resize(rgb_first, (112, 112), interpolation=cv2.INTER_AREA)
    difference = np.abs(resize_frame(frame, Orientation()).astype(int) - rgb_first)
    assert difference.max() <= 4
    assert difference.mean() < 1


@pytest.mark.parametrize("degrees", [90, 180, 270])
def test_rotation_is_clockwise(degrees):
    frame = make_frame(draw_smooth((64, 48)), "yuv420p")
    rotated = np.rot90(resize_frame(frame, Orientation()), -degrees // 90)
    np.testing.assert_array_equal(resize_frame(frame, Orientation(degrees)), rotated)


def test_an_unspecified_colour_space_is_bt_601():
    image = np.broadcast_to(np.array((200, 100, 30), np.uint8), (48, 64, 3))
    frame = make_frame(image, "yuv420p", "ITU601")
    frame.colorspace = 2
    np.testing.assert_allclose(resize_frame(frame, Orientation()).mean(axis=(0, 1)), (200, 100, 30), atol=3)


@pytest.mark.parametrize("pixels", PLANAR)
@pytest.mark.parametrize("size", [(640, 360), (1920, 1080), (63, 47), (2, 2)])
def test_colours_resized_at_once_are_nearly_the_same(pixels, size):
    frame = make_frame(draw_smooth(size), pixels)
    exact, quick = (resize_frame(frame, Orientation(), is_exact).astype(int) for is_exact in (True, False))
    assert np.abs(quick - exact).mean() < 1.5
    brightness = np.array([0.299, 0.587, 0.114])
    assert np.abs((quick - exact) @ brightness).max() <= 2


@pytest.mark.parametrize(("pixels", "same", "tolerance"), [("nv12", "yuv420p", 0), ("p010le", "yuv420p10le", 3)])
def test_frames_of_gpus_are_those_with_separate_planes(pixels, same, tolerance):
    image = np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)
    planar = av.VideoFrame.from_ndarray(image, format="rgb24").reformat(format=same)
    for exact in (True, False):
        expected = resize_frame(planar, Orientation(), exact).astype(int)
        found = resize_frame(planar.reformat(format=pixels), Orientation(), exact)
        assert np.abs(found - expected).max() <= tolerance
