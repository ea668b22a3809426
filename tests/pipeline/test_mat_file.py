"""Structs in MATLAB files are read as they are; anything else is refused in words."""

import random

import numpy as np
import pytest

from pipeline.mat_file import MatFileError, read_struct
from tests.support.mat_files import SAVED_BY_SCIPY, write_mat


def test_a_struct_that_another_program_wrote_is_read():
    fields = read_struct(SAVED_BY_SCIPY, "label")
    assert {name: values.tolist() for name, values in fields.items()} == {
        "duration": [90],
        "start_frame": [3],
        "end_frame": [92],
        "temporal_bound_num": [4],
        "temporal_bound": [3, 33, 63, 92],
        "offset_next_estimate": [-1] * 5,
    }


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("compressed", [True, False])
def test_either_byte_order_is_read_compressed_or_not(order, compressed):
    content = write_mat("label", {"bounds": [1.0, 2.5, 300.0], "start": [-7.0]}, order=order, compressed=compressed)
    fields = read_struct(content, "label")
    np.testing.assert_array_equal(fields["bounds"], [1.0, 2.5, 300.0])
    np.testing.assert_array_equal(fields["start"], [-7.0])


def test_an_empty_field_has_no_numbers():
    fields = read_struct(write_mat("label", {"bounds": [], "end": None, "start": [1.0]}), "label")
    assert {name: values.tolist() for name, values in fields.items()} == {"bounds": [], "end": [], "start": [1.0]}


def test_a_struct_of_another_name_is_not_taken():
    with pytest.raises(MatFileError, match="it has no struct named label"):
        read_struct(write_mat("labels", {"bounds": [1.0]}), "label")
    with pytest.raises(MatFileError, match="it has no struct named other"):
        read_struct(SAVED_BY_SCIPY, "other")


@pytest.mark.parametrize("content", [b"", b"MATLAB 5.0", b"\x89HDF\r\n\x1a\n" + bytes(500), b"x" * 500])
def test_another_kind_of_file_is_refused(content):
    with pytest.raises(MatFileError, match="it does not begin as one"):
        read_struct(content, "label")


def test_a_damaged_file_is_refused_and_never_raises_anything_else():
    rng = random.Random(0)
    refused = 0
    for content in [SAVED_BY_SCIPY, write_mat("label", {"bounds": [1.0, 2.0], "start": [1.0]}, compressed=False)] * 300:
        damaged = bytearray(content[: rng.choice([len(content), rng.randrange(129, len(content))])])
        for _ in range(rng.randrange(1, 4)):
            damaged[rng.randrange(128, len(damaged))] = rng.randrange(256)
        try:
            read_struct(bytes(damaged), "label")
        except MatFileError:
            refused += 1
    assert refused > 300
