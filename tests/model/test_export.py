"""An exported model counts by itself what the pipeline counts, from frames and their times."""

import dataclasses
import json
from pathlib import Path

import cv2
import numpy as np
import pytest
import tensorflow as tf

from model import export, exported
from model.counting import count_repetitions
from model.counting_options import CountingOptions, StrideRule
from model.errors import WeightsError
from model.frame_counts import rounded_count
from model.golden import golden_clip
from model.logits import slow_repeats
from model.presets import PRESETS, load_model
from model.scoring import Scorer
from tests.reference.synthetic_clip import synthetic_clip

REFERENCE = Path(__file__).parents[1] / "reference"
STRIDES = (1, 2)
OVERLAP_FROM = 2
OPTIONS = {
    "notebook": CountingOptions(StrideRule.NOTEBOOK, video_threshold=0.0, frame_threshold=0.1),
    "vote": dataclasses.replace(PRESETS["lite"].counting, frame_threshold=0.02, peak_share=0.0),
}
SCALARS = ("count", "count_rounded", "confidence", "certainty", "stride", "mean_period_sec")
CURVES = ("times_sec", "per_frame_count", "periodicity", "period_sec")


@pytest.fixture(scope="module")
def counters(tiny_network, tmp_path_factory):
    """Exported models, by their rule, loaded again."""
    loaded = {}
    for name, options in OPTIONS.items():
        folder = tmp_path_factory.mktemp("exported") / name
        export.save(export.make_counter(tiny_network, STRIDES, options, 30.0, 20.0, OVERLAP_FROM), folder, {"name": name})
        loaded[name] = tf.saved_model.load(str(folder))
    return loaded


@pytest.fixture(scope="module")
def scorer(tiny_network):
    return Scorer(tiny_network, STRIDES, overlap_from=OVERLAP_FROM)


@pytest.mark.parametrize("rule", OPTIONS)
@pytest.mark.parametrize(("num_frames", "fps"), [(1, 30.0), (2, 30.0), (100, 30.0), (131, 25.0), (40, 8.0), (150, 60.0)])
def test_an_exported_model_counts_what_the_pipeline_counts(counters, scorer, rule, num_frames, fps):
    frames, times_sec = synthetic_clip(3, num_frames, 11), np.arange(num_frames) / fps
    found = {name: value.numpy() for name, value in counters[rule].count(frames, times_sec).items()}
    kept = slice(None, None, 2 if fps == 60 else 1)
    repeats = slow_repeats(times_sec[kept], 20.0)
    logits = scorer.score(frames[kept], repeats=repeats)
    expected = count_repetitions(logits, len(times_sec[kept]), 1, OPTIONS[rule], repeats)

    assert found["count"] == pytest.approx(expected.count, abs=1e-3)
    assert found["count_rounded"] == rounded_count(found["count"])
    assert found["confidence"] == pytest.approx(expected.confidence, abs=1e-3)
    assert found["stride"] == expected.stride
    np.testing.assert_array_equal(found["times_sec"], times_sec[kept])
    np.testing.assert_allclose(found["per_frame_count"], expected.per_frame_count, atol=1e-3)
    np.testing.assert_allclose(found["periodicity"], expected.periodicity, atol=1e-3)
    np.testing.assert_array_equal(np.isfinite(found["period_sec"]), expected.is_periodic)
    assert len(found["repetition_times_sec"]) == found["count_rounded"]
    assert (np.diff(found["repetition_times_sec"]) > 0).all()
    assert np.isfinite(found["mean_period_sec"]) == (expected.count > 0)


def test_the_serving_signature_is_the_same_function(counters):
    frames, times_sec = tf.constant(synthetic_clip(3, 70, 11)), tf.constant(np.arange(70) / 30)
    served = counters["vote"].signatures["serving_default"](frames=frames, times_sec=times_sec)
    called = counters["vote"].count(frames, times_sec)
    assert set(served) == {*SCALARS, *CURVES, "repetition_times_sec"}
    for name in served:
        np.testing.assert_array_equal(served[name], called[name])


def test_frames_resized_by_opencv_count_as_the_whole_ones(counters):
    clip = synthetic_clip(3, 100, 11, size=224)
    large = np.stack([cv2.resize(frame, (448, 448), interpolation=cv2.INTER_NEAREST) for frame in clip])
    times_sec = np.arange(100) / 30
    counts = [float(counters["notebook"].count(frames, times_sec)["count"]) for frames in (clip, large)]
    assert counts[0] == pytest.approx(counts[1], abs=1e-3)


@pytest.mark.parametrize("num_times", [0, 69, 71])
def test_a_frame_without_a_time_is_refused(counters, num_times):
    with pytest.raises(tf.errors.InvalidArgumentError, match="one time for each frame"):
        counters["vote"].count(synthetic_clip(3, 70, 11), np.arange(float(num_times)))


def test_a_folder_is_written_whole_or_not_at_all(tiny_network, tmp_path):
    counter = export.make_counter(tiny_network, (1,), OPTIONS["vote"], 30.0, 0.0)
    with pytest.raises(TypeError, match="JSON"):
        export.save(counter, tmp_path / "exported", {"name": object()})
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "exported").mkdir()
    export.save(counter, tmp_path / "exported", {"name": "tiny", "layers": {"dense": [1]}})
    assert exported.read_metadata(tmp_path / "exported")["name"] == "tiny"
    with pytest.raises(WeightsError, match="new or empty folder"):
        export.save(counter, tmp_path / "exported", {"name": "tiny"})
    assert [path.name for path in tmp_path.iterdir()] == ["exported"]


def test_a_disk_that_is_full_is_an_error_of_the_system_and_leaves_nothing(tmp_path, monkeypatch):
    def fail(counter, folder, **options):
        (Path(folder) / "saved_model.pb").touch()
        raise tf.errors.ResourceExhaustedError(None, None, "No space left on device")

    monkeypatch.setattr(tf.saved_model, "save", fail)
    counter = tf.Module()
    counter.count = None
    with pytest.raises(OSError, match="No space left on device"):
        export.save(counter, tmp_path / "exported", {})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("case", [0, 1, 2])
def test_a_published_model_counts_the_golden_cases_like_the_authors_code(standin_2020, case):
    with np.load(REFERENCE / "golden_counts_2020.npz") as file:
        golden = {key.removeprefix(f"{case}_"): file[key] for key in file.files if key.startswith(f"{case}_")}
    given = json.loads(str(golden["options"]))
    options = CountingOptions(
        StrideRule.NOTEBOOK,
        given["threshold"],
        given["within_period_threshold"],
        given.get("median_filter", False),
        given.get("constant_speed", False),
        batch_windows=given["batch_size"],
    )
    seed, num_frames, period_frames = golden["spec"]
    frames = golden_clip(int(seed), int(num_frames), period_frames, size=224)
    counter = export.make_counter(load_model(standin_2020).network, given["strides"], options, 30.0, 0.0)
    found = counter.count(frames, np.arange(len(frames)) / 30)
    assert int(found["stride"]) == golden["chosen_stride"]
    assert float(found["count"]) == pytest.approx(golden["per_frame_counts"].sum(), abs=1e-3)
    np.testing.assert_allclose(found["periodicity"], golden["within_period"], atol=1e-3)
