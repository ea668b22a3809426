"""`count_video` counts from Python, says why a video cannot be counted, and needs neither Beam nor BigQuery."""

import concurrent.futures
import dataclasses
import io
import json
import os
import pickle
import re
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from google.api_core.exceptions import ServiceUnavailable

from demo.draw_videos import CLIPS, draw_clip
from model.errors import UserError
from model.storage import StorageError
from pipeline import api
from pipeline.command_line import UsageError
from pipeline.main import main
from tests.support.videos import draw_video
from transforms.failure_codes import FailureCode, Stage
from transforms.machine_faults import MachineFaultError

ROOT = Path(__file__).parents[2]

BLOCK = """
import sys

class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "apache_beam" or name.startswith(("google.cloud.bigquery", "duckdb", "pyarrow")):
            raise ImportError(f"{name} is not installed")

sys.meta_path.insert(0, Blocker())
"""


@pytest.fixture(scope="module")
def squats(tmp_path_factory):
    path = tmp_path_factory.mktemp("videos") / "squats.mp4"
    draw_clip(next(clip for clip in CLIPS if clip.file == path.name), path)
    return path


@pytest.fixture(scope="module")
def counted(squats):
    return api.count_video(squats)


def test_the_result_tells_count_times_and_curve(counted, squats):
    assert counted.uri == str(squats)
    assert counted.count_rounded == round(counted.count) > 0
    assert 0 < counted.confidence <= 1
    assert len(counted.repetition_times_sec) == int(counted.count)
    assert np.all(np.diff(counted.repetition_times_sec) > 0)
    assert counted.repetition_times_sec[-1] <= counted.duration_sec
    assert counted.times_sec.shape == counted.curve.shape == counted.periodicity.shape
    assert counted.curve[-1] == pytest.approx(counted.count)
    assert sum(segment.count for segment in counted.segments) == pytest.approx(counted.count)
    assert counted.fps > 0
    assert (counted.width, counted.height) > (0, 0)


def test_json_has_the_same_names_and_values(counted, squats, capsys):
    assert main(["count", "--quiet", "--json", "--curve", str(squats)]) == 0
    record = json.loads(capsys.readouterr().out)
    assert record.pop("status") == "counted"
    assert record.pop("wall_sec") > 0
    assert set(record) == {field.name for field in dataclasses.fields(counted)} | {"count_rounded"}
    for name, value in record.items():
        expected = getattr(counted, name)
        if isinstance(expected, np.ndarray):
            np.testing.assert_allclose(np.array(value, np.float64), expected, atol=1e-6, err_msg=name)
        elif isinstance(expected, float):
            assert value == pytest.approx(expected, abs=1e-6), name
    for written, segment in zip(record["segments"], counted.segments, strict=True):
        assert written == pytest.approx({name: getattr(segment, name) for name in written}, abs=1e-6)
    scores = {str(stride): score for stride, score in counted.stride_scores.items()}
    assert record["stride_scores"] == pytest.approx(scores, abs=1e-6)
    assert record["options"] == json.loads(json.dumps(counted.options))
    for name in ("video_uri", "count_rounded", "stride", "width", "height", "codec", "model", "model_sha256"):
        assert record[name] == getattr(counted, name), name


def test_the_example_of_the_docstring_runs(squats, capsys, monkeypatch):
    example = textwrap.dedent(re.search(r"(?s) {4}from .*(?=\n\n)", api.__doc__)[0])
    assert len(re.findall(r"\S.*", example)) == 4
    exec(example.replace("demo/videos/squats.mp4", str(squats)), {})
    assert re.match(r"\d+ \d+\.\d+ 0\.\d+\n\[", capsys.readouterr().out)


def test_the_model_is_kept_for_the_next_call_whatever_it_asks_of_decoding_and_counting(counted, squats, monkeypatch):
    monkeypatch.setattr("model.presets._read_preset", lambda preset: pytest.fail("the model was loaded again"))
    monkeypatch.setattr("model.scoring.Scorer", lambda *arguments: pytest.fail("the model was prepared again"))
    assert api.count_video(squats).count == counted.count
    for max_fps in (10, 12, 15):
        assert api.count_video(squats, max_fps=max_fps).options["max_fps"] == max_fps
    assert api.count_video(squats, video_threshold=1.0).count == 0


def test_a_path_may_be_bytes_as_the_system_gives_it(counted, squats):
    assert api.count_video(os.fsencode(squats)).count == counted.count


def test_contents_and_frames_are_refused_in_one_short_line(squats):
    contents = squats.read_bytes()
    rule = r"^video must be the path of a file or a gs:// URI\. Write contents and frames to a file first\. Received: "
    for wrong, received in ((contents, f"{len(contents):,} bytes"), ("x" * 5000, "5,000 characters"), ("a\0b", "3 characters")):
        with pytest.raises(UsageError, match=f"{rule}{received}$"):
            api.count_video(wrong)
    frames = np.zeros((10, 112, 112, 3), np.uint8)
    for wrong in (io.BytesIO(contents), frames, iter(frames), None):
        with pytest.raises(TypeError, match=f"{rule}{type(wrong).__name__}$"):
            api.count_video(wrong)


def test_a_video_that_cannot_be_counted_raises_its_code(tmp_path):
    (tmp_path / "empty.mp4").touch()
    with pytest.raises(api.CountError, match="the file is empty") as caught:
        api.count_video(tmp_path / "empty.mp4")
    assert (caught.value.stage, caught.value.code) == (Stage.DECODE, FailureCode.EMPTY_FILE)


def test_mistakes_have_errors_of_their_own(tmp_path, squats):
    with pytest.raises(FileNotFoundError, match=r"must be a file\. Received: .*missing\.mp4"):
        api.count_video(tmp_path / "missing.mp4")
    with pytest.raises(
        UsageError, match=r"is a local path or a gs:// URI; download what is on http:// first\. Received: 'http://x"
    ):
        api.count_video("http://x/y.mp4")
    with pytest.raises(StorageError, match=r"^a Cloud Storage URI has the form gs://bucket/name\. Received: 'gs://'$"):
        api.count_video("gs://")
    with pytest.raises(TypeError, match=r"no option 'max_pfs'; it has .*max_fps"):
        api.count_video(squats, max_pfs=15)
    with pytest.raises(TypeError, match="no option 'prog'"):
        api.count_video(squats, prog="repcount")
    with pytest.raises(UsageError, match="max_fps must be a positive number"):
        api.count_video(squats, max_fps=0.0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"max_fps": True}, "--max_fps: must be a number such as 0.5. Received: 'True'"),
        ({"overlap_from": -1}, "--overlap_from: must be a whole number of at least 0. Received: '-1'"),
        ({"overlap_from": 2.5}, "--overlap_from: must be a whole number of at least 0. Received: '2.5'"),
        ({"precision": "float8"}, "--precision: must be one of auto, float32, .*Received: 'float8'"),
        ({"exact_decoding": 1}, "exact_decoding must be True or False. Received: 1"),
        ({"strides": (0, 1)}, "--strides must be different whole numbers of at least 1"),
        ({"billing_project": "My Project"}, "must be the ID of a project, of 6 to 30 lower-case letters, digits and '-'"),
        ({"model": Path("nowhere/ckpt-1")}, "a model is one of"),
    ],
)
def test_options_are_checked_like_those_of_the_command_line(squats, options, message):
    with pytest.raises(UserError, match=message):
        api.count_video(squats, **options)


def test_options_may_be_numbers_and_arrays_of_numpy_and_have_the_names_of_the_command_line():
    given = {"max_fps": np.float32(15), "max_frames": np.int64(100), "strides": np.array([1, 2]), "exact_decoding": np.True_}
    plain = {"max_fps": 15.0, "max_frames": 100, "strides": [1, 2], "exact": True, "model": Path("lite"), "max_sec": None}
    arguments = api._parse_options("lite", given)
    assert vars(arguments) == vars(api._parse_options(plain.pop("model"), plain))
    assert (arguments.max_fps, arguments.max_frames, arguments.strides) == (15.0, 100, (1, 2))
    assert arguments.exact_decoding is True
    assert api._parse_options("lite", {"constant_speed": False}).constant_speed is False
    limits = api._parse_options("lite", {"max_bytes": 1e9, "strides": range(1, 3)})
    assert (limits.max_bytes, limits.strides) == (1_000_000_000, (1, 2))


def test_an_error_of_a_video_can_be_sent_to_another_process():
    error = pickle.loads(pickle.dumps(api.CountError("the file is empty", Stage.DECODE, FailureCode.EMPTY_FILE)))
    assert (str(error), error.stage, error.code) == ("the file is empty", Stage.DECODE, FailureCode.EMPTY_FILE)


def test_threads_take_turns(counted, squats):
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        counts = list(threads.map(lambda _: api.count_video(squats).count, range(8)))
    assert counts == [counted.count] * 8


def test_a_fork_of_a_process_that_has_counted_is_refused(counted, squats, monkeypatch):
    monkeypatch.setitem(api._FORKED_FROM, "pid", os.getpid() + 1)
    with pytest.raises(UsageError, match='start processes with the method "spawn" or "forkserver"'):
        api.count_video(squats)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("import tensorflow as tf; tf.function(lambda x: x @ x)(tf.ones((300, 300)))", "a fork of a process that has used"),
        ("import tensorflow", "0"),
    ],
    ids=["used", "only imported"],
)
def test_a_fork_after_the_program_itself_has_used_tensorflow_is_refused_and_does_not_hang(before, after, tmp_path):
    video = draw_video(tmp_path / "still.mp4", 70, draw=lambda index: np.zeros((48, 64, 3), np.uint8))
    code = f"""
import multiprocessing
from pipeline.api import count_video
{before}

def count(queue):
    try:
        queue.put(count_video({str(video)!r}).count_rounded)
    except Exception as error:
        queue.put(error)

context = multiprocessing.get_context("fork")
queue = context.Queue()
child = context.Process(target=count, args=(queue,), daemon=True)
child.start()
print(queue.get(timeout=120))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.startswith(after), done.stderr


def test_the_project_that_pays_is_asked_for_the_video(monkeypatch):
    asked = []
    monkeypatch.setattr(api, "find_object", lambda uri, project: asked.append((uri, project)))
    with pytest.raises(FileNotFoundError):
        api.count_video("gs://gym/squats.mp4", billing_project="payer-project")
    assert asked == [("gs://gym/squats.mp4", "payer-project")]
    arguments = api._parse_options("lite", {"billing_project": "payer-project"})
    assert api._load_counter(arguments).decoding.billing_project == "payer-project"


def test_a_store_that_fails_is_no_fault_of_the_video(monkeypatch):
    def fail(uri, project):
        raise OSError("Cloud Storage refused: 503") from ServiceUnavailable("503")

    monkeypatch.setattr(api, "find_object", fail)
    with pytest.raises(MachineFaultError, match=r"looking for 'gs://gym/squats.mp4' met a fault of the machine"):
        api.count_video("gs://gym/squats.mp4")


@pytest.mark.slow
@pytest.mark.parametrize("settings", ['{"backend": "jax"}', '{"image_data_format": "channels_first", "floatx": "float16"}'])
def test_keras_json_changes_no_count(squats, counted, settings, tmp_path):
    (tmp_path / "keras.json").write_text(settings)
    environment = {name: value for name, value in os.environ.items() if name != "KERAS_BACKEND"} | {"KERAS_HOME": str(tmp_path)}
    code = f"from pipeline.api import count_video; print(count_video({str(squats)!r}).count)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{counted.count}\n"


@pytest.mark.parametrize(
    ("uri", "extra"),
    [("https://x/y.mp4", "beam"), ("file:///y.mp4", "beam"), ("s3://x/y.mp4", "beam"), ("gs://gym/y.mp4", "gcp")],
)
def test_without_extras_what_is_not_on_this_machine_is_refused_with_the_one_to_install(monkeypatch, uri, extra):
    monkeypatch.setitem(sys.modules, "apache_beam.io.filesystem", None)
    monkeypatch.setitem(sys.modules, "apache_beam.io.filesystems", None)
    with pytest.raises(UsageError, match=rf"^the extra {extra} is needed: .*\[{extra}\]'\. Received: no module [\w.]+$"):
        api.count_video(uri)


def run_without_packages(code):
    """Runs Python in which Beam, BigQuery, DuckDB and Arrow cannot be imported; returns what it prints."""
    done = subprocess.run([sys.executable, "-c", BLOCK + code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.slow
def test_python_counts_without_beam_and_bigquery(tmp_path):
    video = draw_video(tmp_path / "still.mp4", 70, draw=lambda index: np.zeros((48, 64, 3), np.uint8))
    assert (
        run_without_packages(f"from pipeline.api import count_video; print(count_video({str(video)!r}).count_rounded)") == "0\n"
    )


@pytest.mark.slow
def test_the_command_counts_without_beam_and_bigquery(tmp_path):
    video = draw_video(tmp_path / "still.mp4", 70, draw=lambda index: np.zeros((48, 64, 3), np.uint8))
    out = run_without_packages(f"from pipeline.main import main; sys.exit(main(['count', {str(video)!r}]))")
    assert out.split("\t")[:3] == [str(video), "0", "0.0"]
