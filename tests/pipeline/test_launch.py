"""Launching on Dataflow: options are checked, and workers are set up as the command line says."""

import argparse
import dataclasses

import pytest
from apache_beam.options.pipeline_options import DebugOptions, GoogleCloudOptions, SetupOptions, WorkerOptions
from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

from pipeline.command_line import UsageError
from pipeline.launch import (
    SPLIT,
    LaunchConfig,
    add_launch_options,
    check_none_is_active,
    check_workers_decoder,
    for_workers,
    make_launch,
    set_up_slice,
    set_up_workers,
)
from pipeline.run_config import make_pipeline_options
from tests.google_cloud.dataflow import Dataflow
from transforms.records import Slice
from transforms.scoring import ModelConfig

DATAFLOW = ["--runner", "DataflowRunner", "--project", "gym-project", "--region", "europe-west4"]

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


def test_without_a_gpu_no_option_names_one():
    config, options = launch()
    assert config == LaunchConfig()
    assert service_options(options) == []
    assert options.view_as(WorkerOptions).machine_type is None
    assert options.view_as(DebugOptions).experiments is None
    assert config.scoring_accelerator == ""


def test_fused_the_whole_job_has_the_gpu():
    config, options = launch("--gpu", "nvidia-l4")
    assert service_options(options) == ["worker_accelerator=type:nvidia-l4;count:1;install-nvidia-driver:5xx"]
    assert options.view_as(WorkerOptions).machine_type == "g2-standard-8"
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == 8
    assert options.view_as(DebugOptions).experiments == ["no_use_multiple_sdk_containers"]
    assert config.scoring_accelerator == ""


@pytest.mark.parametrize(
    ("machine_type", "threads"),
    [("g2-standard-32", 32), ("g2-custom-8-32768", 8), ("g2-custom-96-400000", 64), ("g2-custom-x", None)],
)
def test_a_worker_has_a_thread_per_core_and_never_thousands(machine_type, threads):
    _, options = launch("--gpu", "nvidia-l4", beam=[*DATAFLOW, "--worker_machine_type", machine_type])
    assert options.view_as(DebugOptions).number_of_worker_harness_threads == threads


@pytest.mark.parametrize("label", ["Team=gym", "team=Gym", "team=the gym", "=gym", f"team={'x' * 64}"])
def test_a_label_that_dataflow_refuses_is_named(label):
    with pytest.raises(UsageError, match=r"--labels must be KEY=VALUE, .* Received: "):
        launch(beam=[*DATAFLOW, "--labels", label])


def test_split_only_the_scoring_step_has_the_gpu():
    beam = [*DATAFLOW, "--worker_machine_type", "n2-standard-16"]
    config, options = launch("--gpu", "nvidia-l4", "--placement", "split", beam=beam)
    assert service_options(options) == []
    assert options.view_as(WorkerOptions).machine_type == "n2-standard-16"
    expected = "type:nvidia-l4;count:1;install-nvidia-driver:5xx;machine_type:g2-standard-8"
    assert config.scoring_accelerator == expected


def test_worker_options_on_the_command_line_stay():
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


def test_the_jobs_of_slices_have_their_own_names_and_share_the_hours_of_the_run():
    _, options = launch(
        "--max_hours", "2", beam=[*DATAFLOW, "--job_name", "nightly", "--dataflow_service_options", "enable_prime"]
    )
    for part, left_sec in ((Slice(1, 2), 7200.0), (Slice(2, 2), 1800.0)):
        set_up_slice(options, "nightly", part, left_sec)
        assert options.view_as(GoogleCloudOptions).job_name == f"nightly-{part.number}-of-2"
        assert service_options(options) == ["enable_prime", f"max_workflow_runtime_walltime_seconds={left_sec:.0f}"]


def test_a_stuck_worker_is_restarted_and_its_disk_holds_videos():
    _, options = launch()
    assert options.view_as(WorkerOptions).element_processing_timeout_minutes == 360
    assert options.view_as(WorkerOptions).disk_size_gb == 100


@pytest.mark.parametrize(
    ("config", "said"),
    [(LaunchConfig(), "Received: no --gpu"), (LaunchConfig("nvidia-l4", SPLIT), "Received: --placement=split")],
)
def test_nvdec_needs_a_gpu_where_videos_are_decoded(config, said):
    with pytest.raises(UsageError, match=f"--decoder nvdec needs a GPU .*{said}"):
        check_workers_decoder("nvdec", config)
    for decoder in ("auto", "cpu"):
        check_workers_decoder(decoder, config)
    check_workers_decoder("nvdec", LaunchConfig("nvidia-l4"))


@pytest.mark.parametrize("beam", [DATAFLOW, []])
def test_the_main_session_is_not_pickled(beam):
    _, options = launch(beam=beam)
    assert options.view_as(SetupOptions).save_main_session is False


def test_a_local_run_is_unchanged():
    _, options = launch(beam=[])
    assert options.view_as(WorkerOptions).disk_size_gb is None
    assert options.view_as(GoogleCloudOptions).labels is None


@pytest.mark.parametrize(
    ("words", "beam", "said"),
    [
        (["--gpu", "nvidia-l4"], [], "--gpu needs --runner=DataflowRunner. Received: --runner=FnApiRunner"),
        (["--placement", "split"], [], "--placement=split needs --runner"),
        (["--max_hours", "2"], [], "--max_hours needs --runner"),
        (["--unless_active", "x"], [], "--unless_active needs --runner"),
        (["--no_wait"], [], "--no_wait needs --runner"),
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
        ([], [*DATAFLOW, "--project", "123"], "--project must be a project ID"),
        ([], [*DATAFLOW, "--project", "proj"], "ID of 6 to 30 lower-case letters, digits and '-', not"),
        ([], DATAFLOW[:2], "needs --project"),
        ([], [*DATAFLOW, "--region", "europe-west4-a"], "--region must be a region such as europe-west4, not a zone"),
        ([], [*DATAFLOW, "--job_name", "Night_1"], "--job_name must be lower-case letters"),
        ([], [*DATAFLOW, "--temp_location", "gs://gs://b"], "--temp_location must be gs://BUCKET/FOLDER"),
        ([], [*DATAFLOW, "--temp_location", "gs://x/y"], "a bucket's name of at least 3 lower-case letters"),
        ([], [*DATAFLOW, "--temp_location", "gs://gym-temp//x"], "no '//'"),
        ([], [*DATAFLOW, "--staging_location", "/here"], "--staging_location must be gs://BUCKET/FOLDER"),
        ([], [*DATAFLOW, "--temp_location", "gs://gym-temp//repcount"], "--temp_location must be gs://BUCKET/FOLDER"),
        ([], [*DATAFLOW, "--subnetwork", "mine"], "--subnetwork must be regions/REGION/subnetworks/NAME"),
        ([], [*DATAFLOW, "--service_account_email", "me"], "--service_account_email must be an e-mail address"),
        ([], [*DATAFLOW, "--worker_machine_type", "large"], "--worker_machine_type must be a machine type"),
        ([], [*DATAFLOW, "--labels", '{"Team": "gym"}'], "--labels must be KEY=VALUE"),
        ([], [*DATAFLOW, "--labels", "{team"], "--labels must be KEY=VALUE"),
        ([], [*DATAFLOW, "--labels", "{[1]: 2}"], "--labels must be KEY=VALUE"),
        ([], [*DATAFLOW, "--labels", '{"team": 5}'], "--labels must be KEY=VALUE"),
        ([], [*DATAFLOW, "--max_num_workers", "0"], "--max_num_workers must be a whole number of at least 1. Received: 0"),
        ([], [*DATAFLOW, "--sdk_container_image", "a b"], "--sdk_container_image must be an image name with its tag"),
        ([], [*DATAFLOW, "--dataflow_service_options", "worker_accelerator=type:nvidia-l4;count:1"], "Received: worker_accel"),
    ],
)
def test_an_invalid_option_is_refused(words, beam, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(")):
        launch(*words, beam=beam)


def test_labels_may_be_json_as_launchers_of_templates_send_them():
    label = '{"goog-dataflow-provided-template-type": "flex", "team": "gym"}'
    _, options = launch(beam=[*DATAFLOW, "--labels", label])
    assert label in options.get_all_options()["labels"]


def test_a_region_is_needed_unless_beam_knows_one(monkeypatch):
    monkeypatch.setattr(DataflowRunner, "get_default_gcp_region", lambda self: None)
    with pytest.raises(UsageError, match=r"needs --region, such as europe-west4\. Received: no --region"):
        launch(beam=DATAFLOW[:4])
    monkeypatch.setattr(DataflowRunner, "get_default_gcp_region", lambda self: "us-central1")
    launch(beam=DATAFLOW[:4])


@pytest.mark.parametrize(("gpu", "precision"), [("", "float32"), ("nvidia-l4", "bfloat16"), ("nvidia-tesla-t4", "float16")])
def test_the_precision_suits_the_workers_and_not_this_machine(gpu, precision):
    assert for_workers(MODEL, LaunchConfig(gpu), "auto").precision == precision
    assert for_workers(MODEL, LaunchConfig(gpu), "bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(
    ("gpu", "machine_type", "precision"),
    [
        ("", None, "int8"),
        ("", "n2-standard-4", "int8"),
        ("", "c4a-standard-4", "float32"),
        ("", "t2a-standard-4", "float32"),
        ("nvidia-l4", None, "bfloat16"),
    ],
)
def test_workers_score_a_calibrated_model_in_8_bits_on_x86_processors(gpu, machine_type, precision):
    model = for_workers(MODEL, LaunchConfig(gpu), "auto", is_calibrated=True, machine_type=machine_type)
    assert model.precision == precision


def test_8_bit_numbers_on_a_gpu_are_refused():
    with pytest.raises(UsageError, match=r"--precision int8 is for processors\. Received: --gpu nvidia-l4"):
        for_workers(MODEL, LaunchConfig("nvidia-l4"), "int8", is_calibrated=True)


def test_workers_without_a_gpu_cannot_require_one():
    with pytest.raises(UsageError, match="--require_gpu needs --gpu"):
        for_workers(dataclasses.replace(MODEL, require_gpu=True), LaunchConfig(), "auto")


def test_workers_with_a_gpu_require_it_and_score_larger_batches():
    model = for_workers(MODEL, LaunchConfig("nvidia-l4"), "auto")
    assert (model.require_gpu, model.batch_frames) == (True, 256)
    for asked in (32, 512):
        assert for_workers(MODEL, LaunchConfig("nvidia-l4"), "auto", batch_frames=asked).batch_frames == asked
    assert for_workers(MODEL, LaunchConfig(), "float32") == dataclasses.replace(MODEL, precision="float32")


@pytest.fixture
def dataflow(cloud):
    dataflow = Dataflow()
    yield dataflow
    dataflow.close()


def test_jobs_on_later_pages_are_found(dataflow):
    dataflow.active = [{"name": f"other-{number}"} for number in range(5)]
    dataflow.active.append({"name": "repcount-nightly-20260131", "currentState": "JOB_STATE_RUNNING"})
    dataflow.page_size = 2
    with pytest.raises(UsageError, match="repcount-nightly-20260131"):
        check(dataflow)


def check(dataflow, prefix="repcount-nightly-"):
    check_none_is_active(make_pipeline_options([*DATAFLOW, "--dataflow_endpoint", dataflow.endpoint]), prefix)


def test_an_active_job_with_that_prefix_is_named(dataflow):
    dataflow.active = [{"name": "other"}, {"name": "repcount-nightly-20260131", "currentState": "JOB_STATE_RUNNING"}]
    with pytest.raises(UsageError, match="repcount-nightly-20260131 is JOB_STATE_RUNNING"):
        check(dataflow)
    check(dataflow, "another-")


def test_without_active_jobs_the_run_may_start(dataflow):
    check(dataflow)


@pytest.mark.parametrize("missing", ["--project", "--region"])
def test_listing_jobs_needs_a_project_and_a_region(missing):
    place = DATAFLOW.index(missing)
    with pytest.raises(UsageError, match="--unless_active needs --project and --region"):
        check_none_is_active(make_pipeline_options(DATAFLOW[:place] + DATAFLOW[place + 2 :]), "repcount-")


def test_an_unreachable_dataflow_is_one_line(dataflow):
    dataflow.close()
    with pytest.raises(UsageError, match="cannot list active Dataflow jobs") as caught:
        check(dataflow)
    assert "\n" not in str(caught.value)
