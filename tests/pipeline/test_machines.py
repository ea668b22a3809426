"""GPUs, machine types and processor cores are described consistently."""

import re

import pytest

from model.presets import PRESETS
from pipeline.machines import (
    CORE_DECODE_FPS,
    GPU_KINDS,
    GPU_PEAK_SHARE,
    GpuKind,
    core_count_fps,
    core_score_fps,
    cores_of,
)


@pytest.mark.parametrize("kind", GPU_KINDS.values())
def test_the_default_machine_type_has_one_such_gpu_and_names_its_cores(kind):
    assert cores_of(kind.machine_type) >= 8
    assert re.fullmatch(kind.machine_types, kind.machine_type)


def test_a_machine_type_whose_name_does_not_tell_its_cores_has_none():
    assert cores_of("e2-micro") is None


def test_a_gpu_scores_by_its_assumed_share_of_its_peak():
    kind = GpuKind("g2-standard-8", "", "bfloat16", peak_tflops=100.0)
    assert kind.score_fps(gflop_per_frame=2.5) == pytest.approx(GPU_PEAK_SHARE * 40_000)


@pytest.mark.parametrize("preset", PRESETS.values(), ids=lambda preset: preset.name)
def test_every_preset_has_a_measured_speed(preset):
    assert core_score_fps(preset.name) == preset.core_score_fps > 0


def test_another_model_is_taken_to_be_as_slow_as_the_published_network():
    assert core_score_fps("gs://models/ckpt-88") == core_score_fps("repnet-2020")


def test_a_core_that_decodes_and_scores_is_slower_than_either():
    one_frame_sec = 1 / core_count_fps("lite")
    assert one_frame_sec == pytest.approx(1 / CORE_DECODE_FPS + 1 / core_score_fps("lite"))
