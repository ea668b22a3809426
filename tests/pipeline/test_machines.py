"""GPUs, machine types and processor cores are described consistently."""

import re
from pathlib import Path

import pytest

from model.presets import PRESETS
from pipeline.machines import (
    CORE_DECODE_FPS,
    GPU_KINDS,
    GPU_PEAK_SHARE,
    UPLOADED_FRAMES_PER_GBPS,
    GpuKind,
    core_count_fps,
    core_score_fps,
    cores_of,
)


@pytest.mark.parametrize("kind", GPU_KINDS.values())
def test_the_default_machine_type_has_one_such_gpu_and_names_its_cores(kind):
    assert cores_of(kind.machine_type) >= 8
    assert re.fullmatch(kind.machine_types, kind.machine_type)


@pytest.mark.parametrize(
    ("machine_type", "cores"),
    [
        ("g2-standard-8", 8),
        ("n1-custom-8-32768", 8),
        ("custom-8-32768", 8),
        ("n2-custom-16-131072-ext", 16),
        ("custom-4-65536-ext", 4),
        ("c3-standard-88-lssd", 88),
        ("z3-highmem-14-standardlssd", 14),
        ("c3-highcpu-192-metal", 192),
        ("a2-highgpu-1g", 12),
        ("e2-custom-small-2048", None),
        ("e2-micro", None),
        ("n2-custom-16", None),
        ("a3-megagpu-8g", None),
    ],
)
def test_the_cores_of_a_machine_type_are_not_its_memory(machine_type, cores):
    assert cores_of(machine_type) == cores


@pytest.mark.parametrize("dropped", ["nvidia-tesla-p100", "nvidia-tesla-v100"])
def test_a_gpu_that_the_pinned_cudnn_does_not_support_is_not_offered(dropped):
    (cudnn,) = re.findall(r"^nvidia-cudnn-cu12==(\d+)\.(\d+)", Path("locks/gpu.lock").read_text(), re.MULTILINE)
    assert tuple(map(int, cudnn)) >= (9, 11)  # the first version without the generations of both
    assert dropped not in GPU_KINDS


def test_a_gpu_scores_by_its_share_of_its_peak_or_what_its_link_carries():
    kind = GpuKind("g2-standard-8", "", "bfloat16", peak_tflops=100.0, link_gbps=10.0)
    assert kind.score_fps(gflop_per_frame=2.5) == pytest.approx(GPU_PEAK_SHARE * 40_000)
    assert kind.score_fps(gflop_per_frame=0.1) == pytest.approx(UPLOADED_FRAMES_PER_GBPS * 10)


def test_an_h100_scores_what_was_measured():
    h100 = GPU_KINDS["nvidia-h100-80gb"]
    assert h100.score_fps(PRESETS["repnet-2020"].gflop_per_frame) == pytest.approx(80_000, rel=0.02)
    assert h100.score_fps(PRESETS["lite"].gflop_per_frame) == pytest.approx(179_000, rel=0.02)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_has_a_measured_speed(preset):
    assert core_score_fps(preset.name) == preset.core_score_fps > 0


def test_another_model_is_taken_to_be_as_slow_as_the_published_network():
    assert core_score_fps("gs://models/ckpt-88") == core_score_fps("repnet-2020")


def test_a_core_that_decodes_and_scores_is_slower_than_either():
    one_frame_sec = 1 / core_count_fps("lite")
    assert one_frame_sec == pytest.approx(1 / CORE_DECODE_FPS + 1 / core_score_fps("lite"))


def test_a_core_beside_a_gpu_only_decodes():
    assert core_count_fps("repnet-2020", has_gpu=True) == CORE_DECODE_FPS
