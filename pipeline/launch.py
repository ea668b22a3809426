"""Launching on Dataflow: its options, their checks before anything starts, and the setup of its workers.

Functions import Beam and Google's clients when they are called, so that `repcount run --help` does not wait for them.
"""

from __future__ import annotations

import argparse
import ast
import dataclasses
import re
from typing import TYPE_CHECKING

from model.errors import one_line
from model.precision import Precision
from model.storage import FOLDER_URI, FOLDER_URI_RULE, PROJECT_ID, PROJECT_ID_RULE
from pipeline.command_line import UsageError, number
from pipeline.machines import GPU_KINDS, cores_of
from transforms.attempts import LONGEST_SEC

if TYPE_CHECKING:
    from apache_beam.options.pipeline_options import PipelineOptions

    from transforms.records import Slice
    from transforms.scoring import ModelConfig

FUSED = "fused"
"""Placement: every worker has a GPU, decodes and scores."""

SPLIT = "split"
"""Placement: workers with a GPU score, others do everything else. Frames cross the network."""

DATAFLOW_RUNNER = "DataflowRunner"

_ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Dataflow experiment: one Python process with threads on each worker, instead of one process for each core."""

_ACCELERATOR_OPTION = "worker_accelerator"

_RUNTIME_OPTION = "max_workflow_runtime_walltime_seconds"

_DISK_GB = 100
"""Disk of a worker. Each of its threads may keep a copy of a video there."""

_STUCK_MINUTES = round(LONGEST_SEC / 60)
"""Minutes on one video after which a worker is restarted. Long enough for a video of four hours. Decoding has its own deadline,
a minute without a frame."""

_MAX_THREADS = 64
"""Most threads of a worker with a GPU, each of which decodes a video: more than one GPU needs, whatever the machine."""

GPU_BATCH_FRAMES = 256
"""Batch size in frames with a GPU. In 16 bits it takes about 1 GB for the published network; it shrinks if that is too much."""

_ARM_MACHINES = re.compile(r"(t2a|c4a|n4a)-")
"""Machine types with ARM processors, where TensorFlow has no convolutions of 8-bit numbers."""

_LEAST_HOURS = 0.1
"""Hours below which a job would end before its workers have started."""

_TIMEOUT_SEC = 60

_VALID_VALUES = {
    "project": (PROJECT_ID.pattern, f"a project ID of {PROJECT_ID_RULE}, not a project's name or number"),
    "region": (r"[a-z]+-[a-z]+[0-9]+", "a region such as europe-west4, not a zone"),
    "job_name": (r"[a-z]([-a-z0-9]*[a-z0-9])?", "lower-case letters, digits and hyphens, and start with a letter"),
    "temp_location": (FOLDER_URI.pattern, FOLDER_URI_RULE),
    "staging_location": (FOLDER_URI.pattern, FOLDER_URI_RULE),
    "max_num_workers": (r"[1-9][0-9]*", "a whole number of at least 1"),
    "machine_type": (r"[a-z][a-z0-9]*(-[a-z0-9]+)+", "a machine type such as n2-standard-4"),
    "service_account_email": (r"[^@\s]+@[^@\s]+", "an e-mail address"),
    "subnetwork": (r"(https://\S+/)?regions/[a-z0-9-]+/subnetworks/\S+", "regions/REGION/subnetworks/NAME or its URL"),
    "sdk_container_image": (r"[a-z0-9][a-zA-Z0-9._/:@-]+", "an image name with its tag"),
}
"""Beam options of a Dataflow job: a regular expression that a value must match, and what to say if it does not."""

_SPELLINGS = {"machine_type": "worker_machine_type"}
"""Options of Beam by the names of their values, where these differ."""

_LABEL = r"[a-z][a-z0-9_-]{0,62}(=[a-z0-9_-]{0,63})?"


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """How to run a job on Dataflow.

    Attributes:
      gpu_type: Type of GPU on each worker that scores, a key of `GPU_KINDS`. "": no GPUs.
      placement: `FUSED` or `SPLIT`. Matters only with a GPU.
      max_hours: Hours after which Dataflow ends the job. None: no limit.
      unless_active: Job-name prefix; refuse to start while a matching job is active. "" disables the check.
      wait: Whether to wait until the job has ended.
    """

    gpu_type: str = ""
    placement: str = FUSED
    max_hours: float | None = None
    unless_active: str = ""
    wait: bool = True

    @property
    def accelerator(self) -> str:
        """Dataflow's description of the GPU; "" for none. Drivers below 5xx are too old for the CUDA in our image."""
        return f"type:{self.gpu_type};count:1;install-nvidia-driver:5xx" if self.gpu_type else ""

    @property
    def scoring_accelerator(self) -> str:
        """GPU and machine type that the scoring step asks for by itself; "" unless the placement is `SPLIT`."""
        if not self.gpu_type or self.placement != SPLIT:
            return ""
        return f"{self.accelerator};machine_type:{GPU_KINDS[self.gpu_type].machine_type}"


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options for runs on Dataflow."""
    workers = parser.add_argument_group("Dataflow (--runner DataflowRunner)")
    workers.add_argument(
        "--gpu",
        choices=list(GPU_KINDS),
        default="",
        metavar="TYPE",
        help=f"type of GPU on the workers that score: {', '.join(GPU_KINDS)}. Default: no GPU",
    )
    workers.add_argument(
        "--placement",
        choices=(FUSED, SPLIT),
        default=FUSED,
        help="with --gpu, fused: every worker has a GPU, decodes and scores. split: workers with a GPU score, others decode, "
        "and compressed frames cross the network. Default: %(default)s",
    )
    workers.add_argument(
        "--max_hours", type=number, metavar="HOURS", help="hours after which Dataflow ends the job. Default: no limit"
    )
    workers.add_argument(
        "--unless_active",
        default="",
        metavar="PREFIX",
        help="refuse to start, with exit code 2, while a job whose name starts with PREFIX is active. Default: no check",
    )
    workers.add_argument(
        "--no_wait", action="store_true", help="end once the job is submitted, without its results. Default: wait for them"
    )


def make_launch(args: argparse.Namespace, options: PipelineOptions) -> LaunchConfig:
    """Returns how to run on Dataflow; raises UsageError for an invalid value, or for a Dataflow option without Dataflow."""
    from apache_beam.options.pipeline_options import StandardOptions

    runner = options.view_as(StandardOptions).runner
    launch = LaunchConfig(args.gpu, args.placement, args.max_hours, args.unless_active, not args.no_wait)
    for given, name in (
        (launch.gpu_type, "--gpu"),
        (launch.placement == SPLIT, "--placement=split"),
        (launch.max_hours is not None, "--max_hours"),
        (launch.unless_active, "--unless_active"),
        (not launch.wait, "--no_wait"),
    ):
        if given and runner != DATAFLOW_RUNNER:
            raise UsageError(f"{name} needs --runner={DATAFLOW_RUNNER}. Received: --runner={runner}")
    if launch.placement == SPLIT and not launch.gpu_type:
        raise UsageError("--placement=split needs --gpu, the type of GPU to score with. Received: no --gpu")
    if launch.max_hours is not None and not _LEAST_HOURS <= launch.max_hours < float("inf"):
        raise UsageError(f"--max_hours must be a number of at least {_LEAST_HOURS}. Received: {launch.max_hours}")
    if runner == DATAFLOW_RUNNER:
        _check_beam_options(options, launch)
    return launch


def _check_beam_options(options: PipelineOptions, launch: LaunchConfig) -> None:
    """Raises UsageError for an option of Beam that Dataflow would refuse, some of them only after minutes."""
    from apache_beam.options.pipeline_options import GoogleCloudOptions, WorkerOptions
    from apache_beam.runners.dataflow.dataflow_runner import DataflowRunner

    given = options.get_all_options()
    if not given["project"]:
        raise UsageError(f"--runner={DATAFLOW_RUNNER} needs --project, the ID of the project that pays. Received: no --project")
    if not given["region"] and not DataflowRunner().get_default_gcp_region():
        raise UsageError(f"--runner={DATAFLOW_RUNNER} needs --region, such as europe-west4. Received: no --region")
    for name, (pattern, meaning) in _VALID_VALUES.items():
        if given[name] is not None and not re.fullmatch(pattern, str(given[name])):
            raise UsageError(f"--{_SPELLINGS.get(name, name)} must be {meaning}. Received: {given[name]}")
    machine_type = options.view_as(WorkerOptions).machine_type
    if launch.gpu_type and launch.placement == FUSED and machine_type:
        kind = GPU_KINDS[launch.gpu_type]
        if not re.fullmatch(kind.machine_types, machine_type):
            raise UsageError(
                f"--worker_machine_type must be one that has one {launch.gpu_type}, such as {kind.machine_type}. "
                f"Received: {machine_type}"
            )
    for label in given["labels"] or []:
        if not all(re.fullmatch(_LABEL, pair) for pair in _label_pairs(label)):
            raise UsageError(
                f"--labels must be KEY=VALUE, of up to 63 lower-case letters, digits, - and _ each. Received: {label}"
            )
    for option in options.view_as(GoogleCloudOptions).dataflow_service_options or []:
        if option.startswith(_ACCELERATOR_OPTION):
            raise UsageError(f"--dataflow_service_options cannot set GPUs: use --gpu and --placement. Received: {option}")


def _label_pairs(label: str) -> list[str]:
    """Returns the labels in a value of `--labels`: one KEY=VALUE, or several as JSON, which launchers of templates send."""
    if "{" not in label:
        return [label]
    try:
        pairs = ast.literal_eval(label)  # as Beam does
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return [label]
    if not isinstance(pairs, dict) or not all(isinstance(text, str) for pair in pairs.items() for text in pair):
        return [label]
    return [f"{key}={value}" for key, value in pairs.items()]


def check_workers_decoder(decoder: str, launch: LaunchConfig) -> None:
    """Raises UsageError if the workers that decode are to do so on a GPU, and have none."""
    if decoder == "nvdec" and (not launch.gpu_type or launch.placement == SPLIT):
        given = f"--placement={launch.placement}" if launch.gpu_type else "no --gpu"
        raise UsageError(f"--decoder nvdec needs a GPU where videos are decoded: --gpu, --placement={FUSED}. Received: {given}")


def for_workers(
    model: ModelConfig,
    launch: LaunchConfig,
    precision: str,
    *,
    batch_frames: int | None = None,
    is_calibrated: bool = False,
    machine_type: str | None = None,
) -> ModelConfig:
    """Returns the model's configuration for workers on Dataflow, whose processors differ from this machine's.

    Args:
      model: Configuration for this machine.
      launch: How to run on Dataflow.
      precision: Number format from the command line, or "auto".
      batch_frames: Batch size in frames from the command line. None for the default.
      is_calibrated: Whether the model can score in int8.
      machine_type: Machine type of the workers. None: Dataflow's choice, which has an x86 processor.

    Raises:
      UsageError: The number format is int8, and the workers that score have a GPU; or they must have one, and have none.
    """
    if model.require_gpu and not launch.gpu_type:
        raise UsageError("--require_gpu needs --gpu, which gives workers a GPU. Received: no --gpu")
    if precision == Precision.INT8 and launch.gpu_type:
        raise UsageError(f"--precision int8 is for processors. Received: --gpu {launch.gpu_type}")
    # Other formats wait for a measurement of Dataflow's processors: on some, bfloat16 is emulated.
    has_int8 = is_calibrated and not _ARM_MACHINES.match(machine_type or "")
    automatic = GPU_KINDS[launch.gpu_type].precision if launch.gpu_type else "int8" if has_int8 else "float32"
    return dataclasses.replace(
        model,
        precision=automatic if precision == "auto" else precision,
        batch_frames=batch_frames or (GPU_BATCH_FRAMES if launch.gpu_type else model.batch_frames),
        require_gpu=model.require_gpu or bool(launch.gpu_type),
    )


def set_up_workers(options: PipelineOptions, launch: LaunchConfig) -> None:
    """Sets the options that describe Dataflow's workers. Values from the command line stay.

    A worker with a GPU runs one process, whose threads share one model on the GPU. A process for each core would load a model
    each. Threads do not block each other: child processes decode, and TensorFlow releases Python's lock.
    """
    from apache_beam.options.pipeline_options import (
        DebugOptions,
        GoogleCloudOptions,
        SetupOptions,
        StandardOptions,
        WorkerOptions,
    )

    options.view_as(SetupOptions).save_main_session = False  # everything that is pickled comes from packages
    if options.view_as(StandardOptions).runner != DATAFLOW_RUNNER:
        return
    worker, cloud = options.view_as(WorkerOptions), options.view_as(GoogleCloudOptions)
    service_options = list(cloud.dataflow_service_options or [])
    if launch.max_hours is not None:
        service_options.append(_max_runtime(launch.max_hours * 3600))
    if launch.gpu_type and launch.placement == FUSED:
        service_options.append(f"{_ACCELERATOR_OPTION}={launch.accelerator}")
        worker.machine_type = worker.machine_type or GPU_KINDS[launch.gpu_type].machine_type
    if launch.gpu_type:
        debug = options.view_as(DebugOptions)
        if not debug.lookup_experiment(_ONE_PROCESS):
            debug.add_experiment(_ONE_PROCESS)
        if worker.machine_type and not debug.number_of_worker_harness_threads:
            cores = cores_of(worker.machine_type)
            debug.number_of_worker_harness_threads = min(cores, _MAX_THREADS) if cores else None
    cloud.dataflow_service_options = service_options or None
    cloud.labels = [*(cloud.labels or []), "app=repcount"]
    worker.disk_size_gb = worker.disk_size_gb or _DISK_GB
    worker.element_processing_timeout_minutes = worker.element_processing_timeout_minutes or _STUCK_MINUTES


def set_up_slice(options: PipelineOptions, job_name: str | None, part: Slice, left_sec: float | None) -> None:
    """Sets what differs between the Dataflow jobs of a run's slices.

    Args:
      options: Beam's options, changed in place.
      job_name: Job name of the run; None lets Beam choose one.
      part: The slice.
      left_sec: Seconds after which Dataflow ends the job; None for no limit.
    """
    from apache_beam.options.pipeline_options import GoogleCloudOptions

    cloud = options.view_as(GoogleCloudOptions)
    if job_name is not None:
        cloud.job_name = f"{job_name}-{part.number}-of-{part.total}"
    if left_sec is not None:
        others = [option for option in cloud.dataflow_service_options or [] if not option.startswith(f"{_RUNTIME_OPTION}=")]
        cloud.dataflow_service_options = [*others, _max_runtime(left_sec)]


def _max_runtime(seconds: float) -> str:
    return f"{_RUNTIME_OPTION}={round(seconds)}"


def check_none_is_active(options: PipelineOptions, prefix: str) -> None:
    """Raises UsageError if a Dataflow job whose name starts with `prefix` is active, or if the jobs cannot be listed."""
    import requests
    from apache_beam.options.pipeline_options import GoogleCloudOptions
    from google.api_core.client_options import ClientOptions
    from google.api_core.exceptions import GoogleAPIError
    from google.auth.exceptions import GoogleAuthError
    from google.cloud import dataflow

    cloud = options.view_as(GoogleCloudOptions)
    if not (cloud.project and cloud.region):
        raise UsageError("--unless_active needs --project and --region. Received: only one of them, or neither")
    try:
        client = dataflow.JobsV1Beta3Client(
            transport="rest", client_options=ClientOptions(api_endpoint=cloud.dataflow_endpoint.rstrip("/"))
        )
        request = dataflow.ListJobsRequest(
            project_id=cloud.project, location=cloud.region, filter=dataflow.ListJobsRequest.Filter.ACTIVE
        )
        active = next((job for job in client.list_jobs(request, timeout=_TIMEOUT_SEC) if job.name.startswith(prefix)), None)
    except (GoogleAuthError, GoogleAPIError, requests.RequestException) as error:
        raise UsageError(f"cannot list active Dataflow jobs: {one_line(error)[:300]}") from error
    if active:
        raise UsageError(
            f"job {active.name} is {active.current_state.name}. Wait for it, cancel it, or omit --unless_active: runs may "
            f"overlap. Received: --unless_active={prefix}"
        )
