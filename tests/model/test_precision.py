"""The number format follows the processor."""

import subprocess
import sys

import pytest

from model.precision import best_precision


@pytest.mark.parametrize(
    ("flags", "expected"),
    [("fpu sse2 avx512_bf16 avx_vnni", "bfloat16"), ("fpu amx_bf16", "bfloat16"), ("fpu sse2 avx2 avx512f", "float32")],
)
def test_bfloat16_is_for_processors_that_multiply_it(tmp_path, flags, expected):
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nmodel name\t: A\nflags\t\t: {flags}\n\nprocessor\t: 1\nflags\t\t: {flags}\n")
    assert best_precision(cpu_info) == expected


@pytest.mark.parametrize(
    ("flags", "onednn", "expected"),
    [
        ("fpu avx2", None, "int8"),
        ("fpu avx2 amx_bf16", None, "int8"),
        ("fpu avx2 amx_bf16", "0", "bfloat16"),
        ("fpu avx2 amx_bf16", "False", "bfloat16"),
        ("fpu sse4_2", None, "float32"),
        ("", None, "float32"),
    ],
)
def test_calibrated_models_are_scored_in_8_bits_where_onednn_does_it(tmp_path, monkeypatch, flags, onednn, expected):
    if onednn:
        monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", onednn)
    else:
        monkeypatch.delenv("TF_ENABLE_ONEDNN_OPTS", raising=False)
    cpu_info = tmp_path / "cpuinfo"
    cpu_info.write_text(f"processor\t: 0\nflags\t\t: {flags}\n")
    assert best_precision(cpu_info, is_calibrated=True) == expected


def test_where_the_processor_is_not_described_it_is_float32(tmp_path):
    assert best_precision(tmp_path / "none") == "float32"


def test_the_formats_are_known_without_tensorflow():
    code = "import sys; from model.precision import PRECISIONS; print(*PRECISIONS, 'tensorflow' in sys.modules)"
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.split() == ["float32", "bfloat16", "float16", "int8", "False"]
