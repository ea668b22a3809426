"""Workers on Dataflow are set up as the command line asks, GPUs in one of two places and never both."""

import argparse
import dataclasses

import pytest
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, SetupOptions, WorkerOptions

from pipeline.command_line import UsageError
from pipeline.launch import (
    LaunchConfig,
    add_launch_options,
    check_none_is_active,
    for_workers,
    make_launch,
    set_up_workers,
)
from pipeline.run_config import make_pipeline_options
from tests.google_cloud.dataflow import Dataflow
from transforms.inference import ModelConfig

DATAFLOW = ["--runner", "DataflowRunner", "--project", "gym", "--region", "europe-west4"]

MODEL = ModelConfig("lite", "f" * 64, (1, 2), "bfloat16", 1)


def launch(*words, beam=DATAFLOW):
    """Returns the configuration and Beam's options after workers have been set up."""
    parser = argparse.ArgumentParser()
    add_launch_options(parser)
    options = make_pipeline_options(list(beam))
    config = make_launch(parser.parse_args(words), options)
    set_up_workers(options, config)
    return config, options


def service_options(options):
    return options.view_as(GoogleCloudOptions).dataflow_service_options or []


def test_without_a_gpu_nothing_is_said_of_any():
    config, options = launch()
    assert config == LaunchConfig()
    assert service_options(options) == []
    assert options.view_as(WorkerOptions).machine_type is None
    assert options.view_as(DebugOptions).experiments is None
    assert config.scoring_accelerator == ""


def test_fused_the_whole_job_has_it():
    config, options = launch("--gpu", "nvidia-l4")
    assert service_options(options) == ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver:5xx"]
    assert options.view_as(WorkerOptions).machine_type == "g2-standard-8"
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 8
    assert options.view_as(DebugOptions).experiments == ["no_use_multiple_sdk_containers"]
    assert config.scoring_accelerator == ""


def test_split_the_scoring_step_alone_has_it():
    beam = [*DATAFLOW, "--worker_machine_type", "n2-standard-16"]
    config, options = launch("--gpu", "nvidia-l4", "--placement", "split", beam=beam)
    assert service_options(options) == []
    assert options.view_as(WorkerOptions).machine_type == "n2-standard-16"
    expected = "type:nvidia-l4;count:1;install-nvidia-driver:5xx;machine_type:g2-standard-8"
    assert config.scoring_accelerator == expected


def test_what_the_command_line_says_of_workers_stays():
    beam = [
        *DATAFLOW,
        "--worker_machine_type",
        "g2-standard-16",
        "--number_of_worker_harness_threads",
        "5",
        "--disk_size_gb",
        "9",
    ]
    beam += ["--labels", "team=gym", "--dataflow_service_options", "enable_prime", "--element_processing_timeout_minutes", "7"]
    _, options = launch("--gpu", "nvidia-l4", "--max_hours", "1.5", beam=beam)
    worker = options.view_as(WorkerOptions)
    assert (worker.machine_type, worker.disk_size_gb, worker.element_processing_timeout_minutes) == ("g2-standard-16", 9, 7)
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 5
    assert options.view_as(GoogleCloudOptions).labels == ["team=gym", "app=repcount"]
    assert service_options(options)[:2] == ["enable_prime", "max_workflow_runtime_walltime_seconds=5400"]


def test_a_worker_that_is_stuck_is_restarted_and_has_room_for_videos():
    _, options = launch()
    assert options.view_as(WorkerOptions).element_processing_timeout_minutes == 360
    assert options.view_as(WorkerOptions).disk_size_gb == 100


@pytest.mark.parametrize("beam", [DATAFLOW, []])
def test_no_main_session_is_pickled(beam):
    _, options = launch(beam=beam)
    assert options.view_as(SetupOptions).save_main_session is False


def test_a_local_run_is_left_as_it_is():
    _, options = launch(beam=[])
    assert options.view_as(WorkerOptions).disk_size_gb is None
    assert options.view_as(GoogleCloudOptions).labels is None


@pytest.mark.parametrize(
    ("words", "beam", "said"),
    [
        (["--gpu", "nvidia-l4"], [], "--gpu is for --runner=DataflowRunner. Received: FnApiRunner"),
        (["--placement", "split"], [], "--placement=split is for"),
        (["--max_hours", "2"], [], "--max_hours is for"),
        (["--unless_active", "x"], [], "--unless_active is for"),
        (["--no_wait"], [], "--no_wait is for"),
        (["--placement", "split"], DATAFLOW, "--placement=split needs --gpu"),
        (
            ["--gpu", "nvidia-l4"],
            [*DATAFLOW, "--worker_machine_type", "n2-standard-8"],
            "such as g2-standard-8. Received: n2-standard-8",
        ),
        (["--gpu", "nvidia-l4"], [*DATAFLOW, "--worker_machine_type", "g2-standard-24"], "has one nvidia-l4"),  # it has two
        (["--gpu", "nvidia-tesla-t4"], [*DATAFLOW, "--worker_machine_type", "g2-standard-8"], "such as n1-standard-8"),
        (["--max_hours", "0"], DATAFLOW, "Received: 0"),
        (["--max_hours", "nan"], DATAFLOW, "Received: nan"),
        ([], [*DATAFLOW, "--dataflow_service_options", "worker_accelerator=type:nvidia-l4;count:1"], "Received: worker_accel"),
    ],
)
def test_what_cannot_be_meant_is_refused(words, beam, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        launch(*words, beam=beam)


@pytest.mark.parametrize(("gpu", "precision"), [("", "float32"), ("nvidia-l4", "bfloat16"), ("nvidia-tesla-t4", "float16")])
def test_precision_is_that_of_the_workers_and_not_of_this_machine(gpu, precision):
    assert for_workers(MODEL, LaunchConfig(gpu), "auto").precision == precision
    assert for_workers(MODEL, LaunchConfig(gpu), "bfloat16").precision == "bfloat16"


def test_where_a_gpu_is_paid_for_it_is_required_and_given_more_at_once():
    model = for_workers(MODEL, LaunchConfig("nvidia-l4"), "auto")
    assert (model.require_gpu, model.batch_frames) == (True, 256)
    assert for_workers(dataclasses.replace(MODEL, batch_frames=512), LaunchConfig("nvidia-l4"), "auto").batch_frames == 512
    assert for_workers(MODEL, LaunchConfig(), "float32") == dataclasses.replace(MODEL, precision="float32")


@pytest.fixture
def dataflow(cloud):
    dataflow = Dataflow()
    yield dataflow
    dataflow.close()


def check(dataflow, prefix="repcount-nightly-"):
    check_none_is_active(make_pipeline_options([*DATAFLOW, "--dataflow_endpoint", dataflow.endpoint]), prefix)


def test_a_job_of_that_name_that_is_active_is_named(dataflow):
    dataflow.active = [{"name": "other"}, {"name": "repcount-nightly-20260131", "currentState": "JOB_STATE_RUNNING"}]
    with pytest.raises(UsageError, match="repcount-nightly-20260131 is still JOB_STATE_RUNNING"):
        check(dataflow)
    check(dataflow, "another-")


def test_no_job_is_no_hindrance(dataflow):
    check(dataflow)


@pytest.mark.parametrize("missing", ["--project", "--region"])
def test_where_to_look_for_jobs_has_to_be_said(missing):
    place = DATAFLOW.index(missing)
    with pytest.raises(UsageError, match="--unless_active needs --project and --region"):
        check_none_is_active(make_pipeline_options(DATAFLOW[:place] + DATAFLOW[place + 2 :]), "repcount-")


def test_a_dataflow_that_does_not_answer_is_one_line(dataflow):
    dataflow.close()
    with pytest.raises(UsageError, match="whether a job is active cannot be found out") as caught:
        check(dataflow)
    assert "\n" not in str(caught.value)
