"""The number format follows the processor."""

import pytest

from model.precision import PRECISIONS, best_precision
from model.scoring import Precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu sse2 avx512_bf16 avx_vnni", "bfloat16"), ("fpu amx_bf16", "bfloat16"), ("fpu sse2 avx2 avx512f", "float32")],
)
def test_bfloat16_is_for_processors_that_multiply_it(tmp_path, flags, expected):
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nmodel name\t: A\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert best_precision(cpu_info) == expected


def test_where_the_processor_is_not_described_it_is_float32(tmp_path):
    assert best_precision(tmp_path / "none") == "float32"


def test_the_names_are_those_of_the_formats_that_score():
    assert tuple(precision.value for precision in Precision) == PRECISIONS
