"""Launching on Dataflow: what the service is told beside the graph, and what is checked before it is asked."""

from __future__ import annotations

import argparse
import dataclasses
import re
import urllib.parse

import google.auth
import google.auth.transport.requests
import requests
from apache_beam.options.pipeline_options import (
    DebugOptions,
    GoogleCloudOptions,
    PipelineOptions,
    SetupOptions,
    StandardOptions,
    WorkerOptions,
)
from google.auth.exceptions import GoogleAuthError

from pipeline.command_line import UsageError
from pipeline.machines import GPU_KINDS, cores_of
from transforms.inference import ModelConfig

FUSED = "fused"
"""Decoding and scoring on the same machines, which all have a GPU."""

SPLIT = "split"
"""Scoring on machines with a GPU, and all else on others; frames cross the network."""

DATAFLOW_RUNNER = "DataflowRunner"

_ONE_PROCESS = "no_use_multiple_sdk_containers"
"""Experiment of Dataflow: a worker has one Python process with threads, and not one for each core."""

_ACCELERATOR_OPTION = "worker_accelerator"

_RUNTIME_OPTION = "max_workflow_runtime_walltime_seconds"

_DISK_GB = 100
"""Of a worker: each of its threads may keep a copy of a video there."""

_STUCK_MINUTES = 360
"""After which a worker that is still at one video is restarted. What hangs in decoding ends after a minute, by its own
deadline; this is for the rest, and leaves a video of four hours its time."""

_GPU_BATCH_FRAMES = 256
"""At least. They take about a gigabyte of the published network's activations in 16 bits; where that is too much, fewer do."""

_TIMEOUT_SEC = 60


@dataclasses.dataclass(frozen=True)
class LaunchConfig:
    """How workers elsewhere are set up.

    Attributes:
      gpu_type: of each worker that scores; "" for none.
      placement: `FUSED` or `SPLIT`; matters with a GPU only.
      max_hours: after which Dataflow ends the job; None for never.
      unless_active: begin of job names; while such a job is active no other is started. "" for whatever is.
      wait: until the job is over.
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
        """What the scoring step alone asks for, with its machine type: "" if the whole job has it, or nobody."""
        if not self.gpu_type or self.placement != SPLIT:
            return ""
        return f"{self.accelerator};machine_type:{GPU_KINDS[self.gpu_type].machine_type}"


def add_launch_options(parser: argparse.ArgumentParser) -> None:
    """Adds what decides how workers on Dataflow are set up."""
    workers = parser.add_argument_group("workers on Dataflow (--runner DataflowRunner)")
    workers.add_argument(
        "--gpu", choices=sorted(GPU_KINDS), default="", metavar="TYPE", help=f"of {', '.join(GPU_KINDS)}. Default: none"
    )
    workers.add_argument(
        "--placement",
        choices=(FUSED, SPLIT),
        default=FUSED,
        help="with --gpu, fused: every worker decodes and scores. split: workers with a GPU score, others decode, and frames "
        "cross the network, compressed. Default: %(default)s",
    )
    workers.add_argument("--max_hours", type=float, metavar="H", help="end the job after that time. Default: never")
    workers.add_argument(
        "--unless_active",
        default="",
        metavar="PREFIX",
        help="start nothing while a job whose name begins so is active, and end with exit code 2",
    )
    workers.add_argument("--no_wait", action="store_true", help="end when the job has been submitted, without its results")


def make_launch(args: argparse.Namespace, options: PipelineOptions) -> LaunchConfig:
    """Returns how workers are set up; raises UsageError for what cannot be meant."""
    on_dataflow = options.view_as(StandardOptions).runner == DATAFLOW_RUNNER
    launch = LaunchConfig(args.gpu, args.placement, args.max_hours, args.unless_active, not args.no_wait)
    for given, name in (
        (launch.gpu_type, "--gpu"),
        (launch.placement == SPLIT, "--placement=split"),
        (launch.max_hours is not None, "--max_hours"),
        (launch.unless_active, "--unless_active"),
        (not launch.wait, "--no_wait"),
    ):
        if given and not on_dataflow:
            raise UsageError(f"{name} is for --runner={DATAFLOW_RUNNER}. Received: {options.view_as(StandardOptions).runner}")
    if launch.placement == SPLIT and not launch.gpu_type:
        raise UsageError("--placement=split needs --gpu, the type of GPU to score with")
    if launch.max_hours is not None and not 0 < launch.max_hours < float("inf"):
        raise UsageError(f"--max_hours must be a positive number. Received: {launch.max_hours}")
    machine_type = options.view_as(WorkerOptions).machine_type
    if launch.gpu_type and launch.placement == FUSED and machine_type:
        kind = GPU_KINDS[launch.gpu_type]
        if not re.fullmatch(kind.machine_types, machine_type):
            raise UsageError(
                f"--worker_machine_type must be one that has one {launch.gpu_type}, such as {kind.machine_type}. "
                f"Received: {machine_type}"
            )
    given_options = options.view_as(GoogleCloudOptions).dataflow_service_options or []
    for option in given_options:
        if option.startswith(_ACCELERATOR_OPTION):
            raise UsageError(f"--gpu and --placement say where GPUs are, not --dataflow_service_options. Received: {option}")
    return launch


def for_workers(model: ModelConfig, launch: LaunchConfig, precision: str) -> ModelConfig:
    """Returns what scores, made fit for workers on Dataflow; their processors are not the one that launches.

    Args:
      model: as for this machine.
      launch: how the workers are set up.
      precision: number format that was asked for, or "auto".
    """
    automatic = GPU_KINDS[launch.gpu_type].precision if launch.gpu_type else "float32"
    return dataclasses.replace(
        model,
        precision=automatic if precision == "auto" else precision,
        batch_frames=max(model.batch_frames, _GPU_BATCH_FRAMES) if launch.gpu_type else model.batch_frames,
        require_gpu=model.require_gpu or bool(launch.gpu_type),
    )


def set_up_workers(options: PipelineOptions, launch: LaunchConfig) -> None:
    """Tells Dataflow what workers to start; whatever the command line says already stays.

    With a GPU a worker has one process, whose threads share one model on it: a process for each core would have a model each.
    Python's lock is no hindrance, since decoding is done by other processes and TensorFlow gives it up.
    """
    options.view_as(SetupOptions).save_main_session = False  # all that is pickled comes from packages
    if options.view_as(StandardOptions).runner != DATAFLOW_RUNNER:
        return
    worker, cloud = options.view_as(WorkerOptions), options.view_as(GoogleCloudOptions)
    service_options = list(cloud.dataflow_service_options or [])
    if launch.max_hours is not None:
        service_options.append(f"{_RUNTIME_OPTION}={round(launch.max_hours * 3600)}")
    if launch.gpu_type and launch.placement == FUSED:
        service_options.append(f"{_ACCELERATOR_OPTION}={launch.accelerator}")
        worker.machine_type = worker.machine_type or GPU_KINDS[launch.gpu_type].machine_type
    if launch.gpu_type:
        debug = options.view_as(DebugOptions)
        if not debug.lookup_experiment(_ONE_PROCESS):
            debug.add_experiment(_ONE_PROCESS)
        if worker.machine_type and not debug.number_of_worker_harness_threads:
            debug.number_of_worker_harness_threads = cores_of(worker.machine_type)
    cloud.dataflow_service_options = service_options or None
    cloud.labels = [*(cloud.labels or []), "app=repcount"]
    worker.disk_size_gb = worker.disk_size_gb or _DISK_GB
    worker.element_processing_timeout_minutes = worker.element_processing_timeout_minutes or _STUCK_MINUTES


def check_none_is_active(options: PipelineOptions, prefix: str) -> None:
    """Raises UsageError if a job whose name begins with `prefix` is active, or if Dataflow does not say."""
    cloud = options.view_as(GoogleCloudOptions)
    if not (cloud.project and cloud.region):
        raise UsageError("--unless_active needs --project and --region, to know where to look")
    place = "/".join(urllib.parse.quote(part, safe="") for part in ("projects", cloud.project, "locations", cloud.region))
    url = f"{cloud.dataflow_endpoint.rstrip('/')}/v1b3/{place}/jobs"
    try:
        credentials, _ = google.auth.default(scopes=["https://www.googleapis.com/auth/cloud-platform"])
        session = google.auth.transport.requests.AuthorizedSession(credentials)
        parameters = {"filter": "ACTIVE"}
        while True:
            answer = session.get(url, params=parameters, timeout=_TIMEOUT_SEC)
            answer.raise_for_status()
            page = answer.json()
            for job in page.get("jobs", []):
                if str(job.get("name", "")).startswith(prefix):
                    raise UsageError(
                        f"{job['name']} is still {job.get('currentState', 'active')}: it is over first, or cancelled, or "
                        f"--unless_active is left out, since runs may overlap. Received: --unless_active={prefix}"
                    )
            if not page.get("nextPageToken"):
                return
            parameters["pageToken"] = page["nextPageToken"]
    except (GoogleAuthError, requests.RequestException) as error:
        raise UsageError(f"whether a job is active cannot be found out: {' '.join(str(error).split())[:300]}") from error
