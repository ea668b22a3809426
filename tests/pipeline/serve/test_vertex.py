"""The server follows Vertex AI's contract for custom containers."""

import shutil

import pytest

from model.presets import DEFAULT_PRESET, load_model
from pipeline.command_line import UsageError
from pipeline.serve.vertex import choose_model
from tests.support.serving import Served
from tests.support.videos import draw_video

ROUTE = "/v1/endpoints/1/deployedModels/2:predict"


@pytest.fixture(scope="module")
def served(tmp_path_factory):
    folder = tmp_path_factory.mktemp("videos")
    draw_video(folder / "a.mp4", 100)
    draw_video(folder / "b.mp4", 140)
    (folder / "bad.mp4").write_text("no video")
    with Served(folder, predict_route=ROUTE, health_route="/v1/health") as served:
        yield served


def instances(*names):
    return {"instances": [{"video_uri": name} for name in names]}


def test_predictions_are_in_the_order_of_the_instances_and_equal_those_by_name(served):
    response = served.post(ROUTE, json=instances("b.mp4", "a.mp4", "b.mp4"))
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    assert [len(response.json()), *(prediction["count_rounded"] for prediction in predictions)] == [1, 7, 5, 7]
    by_name = served.get("/count?name=b.mp4").json()
    assert {**predictions[0], "wall_sec": 0} == {**by_name, "wall_sec": 0}


def test_an_instance_that_fails_has_an_error_and_does_not_fail_the_others(served):
    names = ["a.mp4", "bad.mp4", "none.mp4", "/etc/passwd", "http://169.254.169.254/", "a.mp4"]
    response = served.post(ROUTE, json=instances(*names))
    assert response.status_code == 200
    predictions = response.json()["predictions"]
    codes = [prediction.get("error", {}).get("code") for prediction in predictions]
    assert codes == [None, "NOT_A_VIDEO", "NOT_FOUND", "FORBIDDEN", "FORBIDDEN", None]
    assert predictions[1]["error"]["message"] == predictions[1]["message"]
    assert predictions[2]["video_uri"] == "none.mp4"


def test_parameters_ask_for_the_values_of_each_frame(served):
    (prediction,) = served.post(ROUTE, json={**instances("a.mp4"), "parameters": {"curve": True}}).json()["predictions"]
    assert len(prediction["curve"]) == 100


def test_no_instance_is_no_prediction(served):
    assert served.post(ROUTE, json={"instances": [], "parameters": None}).json() == {"predictions": []}


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"instances": "a.mp4"},
        {"instances": ["a.mp4"]},
        {"instances": [{}]},
        {"instances": [{"video_uri": 1}]},
        {"instances": [{"video_uri": "a.mp4", "x": 1}]},
        {"instances": [], "parameters": []},
        {"instances": [], "parameters": {"curve": "yes"}},
        {"instances": [], "parameters": {"x": 1}},
        {"instances": [], "x": 1},
        {"instances": [{"video_uri": "a.mp4"}] * 1001},
        {"instances": [{"video_uri": "a.mp4"}] * 101, "parameters": {"curve": True}},
        [],
    ],
)
def test_a_body_that_is_no_request_is_400(served, body):
    response = served.post(ROUTE, json=body)
    assert response.status_code == 400
    assert response.json()["error"]["code"] == "INVALID_REQUEST"


def test_the_health_route_is_where_vertex_asks(served):
    assert served.get("/v1/health").status_code == 200
    assert served.get("/health").status_code == 404


@pytest.mark.parametrize("name", ["tiny.safetensors", "ckpt-88.index"])
def test_the_model_is_the_one_in_the_folder_of_the_storage_uri(tmp_path, name):
    (tmp_path / "model").mkdir()
    (tmp_path / "model" / name).write_bytes(b"x")
    (tmp_path / "model" / "ckpt-88.data-00000-of-00001").write_bytes(b"x")
    (tmp_path / "model" / "README.md").write_bytes(b"x")
    path = str(tmp_path / "model" / name).removesuffix(".index")
    for folder in (tmp_path / "model", f"{tmp_path / 'model'}/"):
        assert choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": str(folder)}) == path
    assert choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": str(tmp_path / "tiny.safetensors")}).endswith("tiny.safetensors")


def test_a_model_in_a_bucket_is_found_and_loaded(cloud_storage, tiny_weights):
    folders = ("artifacts", "artifacts-of-another")
    cloud_storage.contents = {f"models/42/{folder}/tiny.safetensors": tiny_weights.read_bytes() for folder in folders}
    model = choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": "gs://models/42/artifacts"})
    assert model == "gs://models/42/artifacts/tiny.safetensors"
    assert load_model(model).preset.name == "tiny"


def test_a_model_of_the_command_line_wins_and_no_uri_is_the_default():
    assert choose_model("repnet-2020", {"AIP_STORAGE_URI": "/no/such/folder"}) == "repnet-2020"
    assert choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": ""}) == DEFAULT_PRESET
    assert choose_model(DEFAULT_PRESET, {}) == DEFAULT_PRESET


def test_a_folder_without_exactly_one_model_is_refused(tmp_path):
    for name in ("a.safetensors", "b.safetensors"):
        (tmp_path / name).write_bytes(b"x")
    with pytest.raises(UsageError, match="2 models"):
        choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": str(tmp_path)})
    shutil.rmtree(tmp_path)
    with pytest.raises(UsageError, match="0 models"):
        choose_model(DEFAULT_PRESET, {"AIP_STORAGE_URI": str(tmp_path)})
