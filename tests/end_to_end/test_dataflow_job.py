"""A job for Dataflow has everything that its workers need, and succeeds only if its rows are in the tables."""

import io
import os
import re
import subprocess
import sys
import tarfile
from pathlib import Path, PurePosixPath

import pytest
from apache_beam.portability.api import beam_runner_api_pb2

from tests.google_cloud.dataflow import Dataflow
from tests.google_cloud.servers import PROJECT
from tests.support.videos import draw_video

SCRIPT = Path(__file__).parents[2] / "run_dataflow.sh"


@pytest.fixture
def dataflow():
    dataflow = Dataflow()
    yield dataflow
    dataflow.close()


def submit(cloud, dataflow, *arguments, command="nightly", **environment):
    settings = {
        "PROJECT": cloud.project,
        "REGION": "europe-west4",
        "BUCKET": cloud.bucket,
        "INPUT": f"gs://{cloud.bucket}/videos/**",
        "OUTPUT": cloud.output,
        "REPCOUNT": str(Path(sys.executable).parent / "repcount"),
    }
    return subprocess.run(
        ["bash", str(SCRIPT), command, "--", "--dataflow_endpoint", dataflow.endpoint, *arguments],
        env={**os.environ, **cloud.variables, **settings, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def said(finished):
    """Returns the one line of the program itself; without a network Google's clients print more."""
    (line,) = (line for line in finished.stderr.splitlines() if line.startswith("repcount run: "))
    return line


def staged_pipeline(cloud):
    from google.cloud import storage

    bucket = storage.Client(project=cloud.project).bucket(cloud.bucket)
    (blob,) = (blob for blob in bucket.list_blobs(prefix="repcount/staging") if blob.name.endswith("pipeline.pb"))
    return beam_runner_api_pb2.Pipeline.FromString(blob.download_as_bytes())


def staged_files(cloud, name):
    """Returns the paths of the files in a staged archive."""
    from google.cloud import storage

    bucket = storage.Client(project=cloud.project).bucket(cloud.bucket)
    (blob,) = (blob for blob in bucket.list_blobs(prefix="repcount/staging") if blob.name.endswith(name))
    with tarfile.open(fileobj=io.BytesIO(blob.download_as_bytes())) as archive:
        return [PurePosixPath(*PurePosixPath(file).parts[1:]) for file in archive.getnames()]


def hinted_steps(pipeline):
    """Returns {step: accelerator} for the steps that ask for an accelerator."""
    hints = {
        name: environment.resource_hints.get("beam:resources:accelerator:v1", b"").decode()
        for name, environment in pipeline.components.environments.items()
    }
    steps = pipeline.components.transforms.values()
    return {step.unique_name: hints[step.environment_id] for step in steps if hints.get(step.environment_id)}


@pytest.mark.slow
def test_a_job_is_submitted_with_its_code_and_its_graph(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    finished = submit(cloud, dataflow, MACHINE_TYPE="n2-standard-4", MAX_WORKERS="7")

    # The stand-in reports the job as done, but nothing was counted.
    assert finished.returncode == 1, finished.stderr
    assert "it is not in the table `runs`" in said(finished)

    (job,) = dataflow.jobs
    assert re.fullmatch(r"repcount-nightly-\d{8}", job["name"])
    assert job["labels"] == {"app": "repcount", "kind": "nightly"}
    assert "max_workflow_runtime_walltime_seconds=43200" in job["environment"]["serviceOptions"]
    assert not any("accelerator" in option for option in job["environment"]["serviceOptions"])
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-4"
    assert pool["diskSizeGb"] == 100
    assert pool["autoscalingSettings"]["maxNumWorkers"] == 7
    packages = {package["name"]: package["location"] for package in pool["packages"]}
    assert packages["workflow.tar.gz"].startswith(f"storage.googleapis.com/{cloud.bucket}/repcount/staging/")
    staged = {PurePosixPath(name).name for name in cloud.objects("repcount/staging")}
    assert not any("main_session" in name for name in staged)
    folders = {file.parts[0] for file in staged_files(cloud, "workflow.tar.gz") if len(file.parts) > 1}
    assert {name for name in folders if not name.endswith(".egg-info")} == {"pipeline", "transforms", "model"}

    pipeline = staged_pipeline(cloud)
    names = [transform.unique_name for transform in pipeline.components.transforms.values()]
    for step in ("Listed videos", "Select videos", "Decode", "Score", "Count", "Stage rows", "Commit rows/Check failures"):
        assert any(name.startswith(step) for name in names), step
    assert not any("progress" in name for name in names)
    assert hinted_steps(pipeline) == {}


@pytest.mark.slow
def test_each_slice_is_a_job_of_its_own_within_the_hours_of_the_run(cloud, dataflow):
    for number in range(16):
        cloud.upload(f"videos/{number}.mp4", b"x")
    finished = submit(cloud, dataflow, "--slices", "2")
    # The stand-in reports the jobs as done, but nothing was counted.
    assert finished.returncode == 1, finished.stderr
    assert "it is not in the table `runs`" in said(finished)
    assert [re.sub(r"\d{8}", "DAY", job["name"]) for job in dataflow.jobs] == [
        "repcount-nightly-DAY-1-of-2",
        "repcount-nightly-DAY-2-of-2",
    ]
    for job in dataflow.jobs:
        (limit,) = (option for option in job["environment"]["serviceOptions"] if option.startswith("max_workflow_runtime"))
        assert 42_000 < int(limit.partition("=")[2]) <= 43_200


PAGE = f"job: https://console.cloud.google.com/dataflow/jobs/europe-west4/2026-01-01_00_00_00-1?project={PROJECT}"


@pytest.mark.slow
def test_who_waits_sees_the_jobs_page_states_and_counters(cloud, dataflow):
    cloud.upload("videos/a.mp4", b"x")
    dataflow.states = ["JOB_STATE_RUNNING"] * 2
    dataflow.counters = {
        "videos_selected": 10,
        "videos_skipped": 2,
        "videos_scored": 4,
        "failures_found": 1,
        "frames_scored": 9,
    }
    finished = submit(cloud, dataflow)
    shown = [line for line in finished.stderr.splitlines() if line.startswith("job: ") or "videos done" in line]
    assert shown == [PAGE, "4 of 10 videos done, 1 failed"]
    states = re.findall(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d UTC: the job is (\w+)$", finished.stderr, re.MULTILINE)
    assert states == ["RUNNING", "DONE"]
    assert "token" not in finished.stderr.lower()


@pytest.mark.slow
def test_a_service_that_refuses_metrics_fails_no_run(cloud, dataflow):
    cloud.upload("videos/a.mp4", b"x")
    dataflow.metrics_status = 403
    dataflow.states = ["JOB_STATE_RUNNING"] * 4  # once a job is over, nobody is told about its counters
    finished = submit(cloud, dataflow)
    assert finished.returncode == 1
    assert "it is not in the table `runs`" in said(finished)  # the stand-in reports the job as done, but nothing was counted
    assert finished.stderr.count("the job goes on, but its counters cannot be read: Forbidden: 403") == 1
    assert "Traceback" not in finished.stderr


GPU = {"GPU": "nvidia-l4", "IMAGE": "somewhere/repcount:1", "MAX_WORKERS": "3"}

ACCELERATOR = "type:nvidia-l4;count:1;install-nvidia-driver:5xx"


@pytest.mark.slow
def test_fused_the_whole_job_has_gpus_and_no_step_asks_for_one(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    finished = submit(cloud, dataflow, "--no_wait", **GPU)
    assert finished.returncode == 0, finished.stderr
    assert "is submitted" in finished.stdout
    assert PAGE in finished.stdout.splitlines()
    (job,) = dataflow.jobs
    assert f"worker_accelerator={ACCELERATOR}" in job["environment"]["serviceOptions"]
    assert "no_use_multiple_sdk_containers" in job["environment"]["experiments"]
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "g2-standard-8"
    assert [image["containerImage"] for image in pool["sdkHarnessContainerImages"]] == ["somewhere/repcount:1"]
    assert not any("workflow.tar.gz" in name for name in cloud.objects("repcount/staging"))
    pipeline = staged_pipeline(cloud)
    assert hinted_steps(pipeline) == {}

    transforms = pipeline.components.transforms
    names = [transform.unique_name for transform in transforms.values()]
    assert not any("Pack" in name for name in names)
    (decode,) = (name for name in names if name.endswith("Decode/Decode") or name == "Decode/Decode/ParDo(_DecodeFn)")
    assert shuffled_between(transforms, decode, "Score") == []
    assert any("Group by video" in name for name in shuffled_between(transforms, decode, "Count/Aggregate"))


@pytest.mark.slow
def test_split_only_the_scoring_step_asks_for_a_gpu(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    finished = submit(cloud, dataflow, "--no_wait", command="backfill", PLACEMENT="split", MACHINE_TYPE="n2-standard-8", **GPU)
    assert finished.returncode == 0, finished.stderr
    (job,) = dataflow.jobs
    assert not any("accelerator" in option for option in job["environment"].get("serviceOptions", []))
    (pool,) = job["environment"]["workerPools"]
    assert pool["machineType"] == "n2-standard-8"
    images = {image["containerImage"] for image in pool["sdkHarnessContainerImages"]}
    assert images == {"somewhere/repcount:1"}
    pipeline = staged_pipeline(cloud)
    hinted = hinted_steps(pipeline)
    assert set(hinted.values()) == {f"{ACCELERATOR};machine_type:g2-standard-8"}
    assert all(name.startswith("Score/On accelerators") for name in hinted)
    scored = {name for name in hinted if "BeamML_RunInference" in name or "RunInference" in name}
    assert scored
    names = [transform.unique_name for transform in pipeline.components.transforms.values()]
    assert {name for name in names if name.startswith("Score/On accelerators")} == set(hinted)
    # Without a shuffle between them, Dataflow could decode on the machines with GPUs.
    transforms = pipeline.components.transforms
    assert len(shuffled_between(transforms, "Score/Pack", "Score/On accelerators")) == 1


@pytest.mark.slow
def test_a_nightly_job_is_refused_while_another_is_active(cloud, dataflow, tmp_path):
    cloud.upload("videos/a.mp4", draw_video(tmp_path / "a.mp4").read_bytes())
    dataflow.active = [{"name": "repcount-nightly-20260101", "currentState": "JOB_STATE_RUNNING"}]
    finished = submit(cloud, dataflow)
    assert finished.returncode == 2
    assert "repcount-nightly-20260101 is JOB_STATE_RUNNING" in said(finished)
    assert dataflow.jobs == []
    assert cloud.objects("repcount") == []


@pytest.mark.slow
@pytest.mark.parametrize("option", [(), ("--no_wait",)])
def test_a_job_that_the_service_refuses_is_one_line_with_its_reason(cloud, dataflow, option):
    cloud.upload("videos/a.mp4", b"x")
    dataflow.refusal = (403, "the caller lacks dataflow.jobs.create")
    finished = submit(cloud, dataflow, *option, IMAGE="somewhere/repcount:1")
    assert finished.returncode == 1
    assert "the caller lacks dataflow.jobs.create" in said(finished)
    assert finished.stderr.count("the caller lacks dataflow.jobs.create") == 1
    assert "HTTP status" not in finished.stderr


def shuffled_between(transforms, first, last):
    """Returns the names of the shuffles between two steps."""
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
