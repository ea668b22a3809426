"""A job that is sent to Dataflow has all that its workers need, and is not called a success before its rows are there."""

import os
import subprocess
from pathlib import Path

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tests.google_cloud.dataflow import Dataflow
from tests.videos import draw_video

SCRIPT = Path(__file__).parents[1] / "run_dataflow.sh"


@pytest.fixture
def dataflow():
    dataflow = Dataflow()
    yield dataflow
    dataflow.close()


def submit(cloud, dataflow, *arguments, **environment):
    settings = {
        "PROJECT": cloud.project,
        "REGION": "europe-west4",
        "BUCKET": cloud.bucket,
        "INPUT": f"gs://{cloud.bucket}/videos/**",
        "OUTPUT": cloud.output,
        "JOB_NAME": "nightly",
    }
    return subprocess.run(
        ["bash", str(SCRIPT), "--", "--dataflow_endpoint", dataflow.endpoint, *arguments],
        env={**os.environ, **cloud.variables, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=240,
    )


def staged_pipeline(cloud):
    from google.cloud import storage

    bucket = storage.Client(project=cloud.project).bucket(cloud.bucket)
    (blob,) = (blob for blob in bucket.list_blobs(prefix="repcount/staging") if blob.name.endswith("pipeline.pb"))
    return beam_runner_api_pb2.Pipeline.FromString(blob.download_as_bytes())


@pytest.mark.slow
def test_a_job_is_sent_with_its_code_and_its_graph(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    finished = submit(cloud, dataflow, MACHINE_TYPE="n2-standard-4", MAX_WORKERS="7")

    # This Dataflow says that the job is done, and nothing has counted anything.
    assert finished.returncode == 1, finished.stderr
    assert "it is not in the table `runs`" in finished.stderr.splitlines()[-1]

    (job,) = dataflow.jobs
    assert job["name"] == "nightly"
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-4"
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    packages = {package["name"]: package["location"] for package in pool["packages"]}
    assert packages["workflow.tar.gz"].startswith(f"storage.googleapis.com/{cloud.bucket}/repcount/staging/")
    assert any(name.endswith("workflow.tar.gz") for name in cloud.objects("repcount/staging"))

    transforms = staged_pipeline(cloud).components.transforms
    names = [transform.unique_name for transform in transforms.values()]
    for step in ("List videos", "Select videos", "Decode", "Score", "Count", "Stage rows", "Commit rows/Check failures"):
        assert any(name.startswith(step) for name in names), step
    assert not any("progress" in name for name in names)


def shuffled_between(transforms, first, last):
    """Returns the names of the steps that shuffle what goes from one step to another."""
    consumers = {}
    for transform in transforms.values():
        for collection in transform.inputs.values():
            consumers.setdefault(collection, []).append(transform)
    (start,) = (transform for transform in transforms.values() if transform.unique_name == first)
    waiting, seen, found = [(collection, ()) for collection in start.outputs.values()], set(), []
    while waiting:
        collection, way = waiting.pop()
        for transform in consumers.get(collection, []):
            if transform.unique_name in seen or transform.subtransforms:
                continue
            seen.add(transform.unique_name)
            if transform.unique_name.startswith(last):
                found += way
                continue
            step = (transform.unique_name,) if transform.spec.urn == "beam:transform:group_by_key:v1" else ()
            waiting += [(output, way + step) for output in transform.outputs.values()]
    return found


@pytest.mark.slow
def test_frames_are_never_shuffled(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    submit(cloud, dataflow)
    transforms = staged_pipeline(cloud).components.transforms
    names = [transform.unique_name for transform in transforms.values()]
    (decode,) = (name for name in names if name.endswith("Decode/Decode") or name == "Decode/Decode/ParDo(_DecodeFn)")
    assert shuffled_between(transforms, decode, "Score") == []
    assert any("Group by video" in name for name in shuffled_between(transforms, decode, "Count/Settle"))
