import io
from pathlib import Path

import numpy as np
import pytest

from model import golden, presets
from model.golden import GoldenError
from model.presets import PRESETS, LoadedModel
from model.scoring import Scorer
from tests.reference import synthetic_clip
from tests.support.checkpoints import TINY_PRESET

REFERENCE = Path(__file__).parents[1] / "reference"


def without_network(name):
    """The postprocess kind asks for no network."""
    return LoadedModel(PRESETS[name], "", network=None)  # type: ignore[arg-type]


def largest(differences):
    """Returns {quantity: largest difference}."""
    out: dict[str, float] = {}
    for difference in differences:
        out[difference.quantity] = max(out.get(difference.quantity, 0.0), difference.largest)
    return out


@pytest.mark.parametrize(("seed", "num_frames", "period", "size"), [(1, 5, 12.5, 112), (7, 3, 2, 224), (3, 4, 20, 64)])
def test_clips_are_those_of_the_golden_files(seed, num_frames, period, size):
    expected = synthetic_clip.synthetic_clip(seed, num_frames, period, size)
    np.testing.assert_array_equal(golden.golden_clip(seed, num_frames, period, size), expected)


def test_halving_takes_the_mean_of_blocks_unrounded():
    clip = np.zeros((1, 4, 2, 3), np.uint8)
    clip[0, :2, :, 0] = [[0, 1], [2, 4]]
    clip[0, 2:, :, 2] = 255
    halved = golden.halve(clip)
    assert halved.dtype == np.float32
    np.testing.assert_array_equal(halved, [[[[1.75, 0, 0]], [[0, 0, 255]]]])


@pytest.mark.parametrize("year", ["2020", "2025"])
def test_counts_from_given_logits_are_the_authors(year):
    differences = golden.compare(without_network(f"repnet-{year}"), REFERENCE / f"golden_postprocess_{year}.npz")
    assert {difference.case for difference in differences} == set(range(10))
    assert largest(differences).keys() == {"stride", "score", "scores of frames", "count", "period", "counts of frames"}
    assert all(difference.passes for difference in differences), largest(differences)


@pytest.mark.slow
@pytest.mark.parametrize("year", ["2020", "2025"])
def test_the_network_and_whole_runs_are_the_authors(year, request):
    model = presets.load_model(request.getfixturevalue(f"standin_{year}"))
    of_network = golden.compare(model, REFERENCE / f"golden_model_{year}.npz")
    assert largest(of_network).keys() == {"embeddings", "period logits", "periodicity logits"}
    of_runs = golden.compare(model, REFERENCE / f"golden_counts_{year}.npz")
    assert {difference.case for difference in of_runs} == set(range(3))
    assert all(difference.passes for difference in of_network + of_runs), (largest(of_network), largest(of_runs))


@pytest.fixture(scope="module")
def tiny(tiny_network):
    return LoadedModel(TINY_PRESET, "", network=tiny_network)


@pytest.fixture(scope="module")
def of_tiny(tiny):
    """The arrays of a golden file that the tiny network agrees with."""
    frames = golden.golden_clip(1, 64, 12.5)
    scorer = Scorer(tiny.network, (1,))
    logits = scorer.score(frames)[1]
    return {
        "clips": np.array([[1, 64, 12.5]]),
        "embeddings": scorer.embeddings(frames)[None],
        "raw_scores": logits.period[None],
        "within_period_logits": logits.periodicity[None, :, None],
    }


def save(tmp_path, arrays):
    np.savez(tmp_path / "golden.npz", **arrays)
    return tmp_path / "golden.npz"


def test_a_network_agrees_with_what_it_returned(tiny, of_tiny, tmp_path):
    differences = golden.compare(tiny, save(tmp_path, of_tiny))
    assert all(difference.passes for difference in differences)


QUANTITIES = {
    "embeddings": "embeddings",
    "raw_scores": "period logits",
    "within_period_logits": "periodicity logits",
}


@pytest.mark.parametrize("name", QUANTITIES)
@pytest.mark.parametrize("off", [0.002, np.nan])
def test_one_number_that_is_off_is_a_difference(tiny, of_tiny, tmp_path, name, off):
    changed = of_tiny[name].copy()
    changed[0, 5, 0] += off
    failed = [d for d in golden.compare(tiny, save(tmp_path, of_tiny | {name: changed})) if not d.passes]
    assert [(d.case, d.quantity) for d in failed] == [(0, QUANTITIES[name])]
    assert failed[0].largest == pytest.approx(np.nan_to_num(off, nan=np.inf), abs=1e-4)


def postprocess(**changes):
    with np.load(REFERENCE / "golden_postprocess_2020.npz") as file:
        arrays = {name: array for name, array in file.items() if name.startswith("0_")}
    return arrays | {f"0_{name}": change(arrays[f"0_{name}"]) for name, change in changes.items()}


@pytest.mark.parametrize(
    ("name", "change", "quantities"),
    [
        ("chosen_stride", lambda x: x + 1, ["stride"]),
        ("pred_score", lambda x: x + 2e-6, ["score"]),
        ("within_period", lambda x: x + np.float32(2e-6), ["scores of frames"]),
        ("per_frame_counts", lambda x: x + 2e-6, ["count", "counts of frames"]),
        ("pred_period", lambda x: x * (1 + 2e-6), ["period"]),
        ("pred_period", lambda x: x * np.inf, ["period"]),
        ("pred_period", lambda x: x * np.nan, ["period"]),
        ("pred_period", lambda x: x * 0, ["period"]),
    ],
)
def test_every_result_of_a_run_is_compared(tmp_path, name, change, quantities):
    path = save(tmp_path, postprocess(**{name: change}))
    differences = golden.compare(without_network("repnet-2020"), path)
    assert [d.quantity for d in differences if not d.passes] == quantities


@pytest.mark.parametrize(
    ("ours", "theirs", "expected"),
    [
        (2.2, 2.0, 0.1),
        (np.inf, np.inf, 0.0),
        (0.0, 0.0, 0.0),
        (2.0, 0.0, np.inf),
        (np.inf, 2.0, np.inf),
        (np.nan, 2.0, np.inf),
        (2.0, np.nan, np.inf),
        (np.nan, np.nan, np.inf),
    ],
)
def test_a_relative_difference_hides_no_missing_number(ours, theirs, expected):
    assert golden._relative(ours, theirs) == pytest.approx(expected)


@pytest.mark.parametrize("name", ["golden_postprocess_2025.npz", "golden_model_2025.npz"])
def test_a_golden_file_of_another_network_is_refused(name):
    with pytest.raises(GoldenError, match=r"'.*npz' does not fit repnet-2020: .* 32 period classes. Received: 64"):
        golden.compare(without_network("repnet-2020"), REFERENCE / name)


@pytest.mark.parametrize(
    "broken",
    [
        {"0_options": np.array("{}")},
        {"0_options": np.array("no JSON")},
        {"0_within_period": np.zeros(3, np.float32)},
        {"0_raw_1": np.zeros((64, 32), np.float32)[:7]},
        {"0_seq_len": np.array(0)},
    ],
)
def test_a_golden_file_that_contradicts_itself_is_refused(tmp_path, broken):
    with pytest.raises(GoldenError, match=r"'.*golden.npz' does not fit repnet-2020: ") as caught:
        golden.compare(without_network("repnet-2020"), save(tmp_path, postprocess() | broken))
    assert "\n" not in str(caught.value)


def array_file():
    file = io.BytesIO()
    np.save(file, np.zeros(3))
    return file.getvalue()


def damaged_archive():
    file = io.BytesIO()
    np.savez_compressed(file, clips=np.random.default_rng(0).integers(0, 9, 10_000))
    content = bytearray(file.getvalue())
    content[200:220] = b"\xff" * 20
    return bytes(content)


@pytest.mark.parametrize("content", [None, b"", b"text", b"PK\x03\x04cut short", array_file(), damaged_archive()])
def test_a_file_that_cannot_be_read_is_refused(tmp_path, content):
    path = tmp_path / "golden.npz"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(GoldenError, match=r"cannot read the golden file: .* Received: '.*golden.npz'"):
        golden.compare(without_network("repnet-2020"), path)


def test_a_file_with_code_in_it_is_not_run(tmp_path):
    path = save(tmp_path, {"clips": np.array([{"a": 1}], dtype=object)})
    with pytest.raises(GoldenError, match="cannot read the golden file: Object arrays"):
        golden.compare(without_network("repnet-2020"), path)


def test_a_file_of_no_known_kind_is_refused(tmp_path):
    for arrays in ({"a": np.zeros(3)}, {}):
        with pytest.raises(GoldenError, match="of kind model, counts or postprocess"):
            golden.compare(without_network("repnet-2020"), save(tmp_path, arrays))
