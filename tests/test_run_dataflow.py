"""The launcher builds the command that it says, starts it, and refuses what is missing or not supported before that."""

import os
import shlex
import subprocess
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parent.parent / "run_dataflow.sh"
REQUIRED = {
    "PROJECT": "gym-project",
    "REGION": "europe-west4",
    "BUCKET": "gym-temp",
    "INPUT": "gs://gym videos/2026/**",
    "OUTPUT": "bigquery:gym-project.counts",
}


def run(*arguments, **environment):
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def dry_run(*arguments, **environment):
    """The words of the command that would be started."""
    finished = run("--dry-run", *arguments, **{**REQUIRED, **environment})
    assert finished.returncode == 0, finished.stderr
    return shlex.split(finished.stdout)


def refusal(*arguments, **environment):
    """The one line on standard error."""
    finished = run(*arguments, **environment)
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    return line


def value_of(option, command):
    return command[command.index(option) + 1]


def test_dry_run_prints_a_command_that_a_shell_reads_back():
    command = dry_run(JOB_NAME="nightly")
    assert command[0] == str(SCRIPT.parent / ".venv/bin/repcount")
    assert command[1] == "run"
    assert value_of("--input", command) == "gs://gym videos/2026/**"
    assert value_of("--output", command) == "bigquery:gym-project.counts"
    assert value_of("--runner", command) == "DataflowRunner"
    assert value_of("--project", command) == "gym-project"
    assert value_of("--region", command) == "europe-west4"
    assert value_of("--job_name", command) == "nightly"
    assert value_of("--temp_location", command).startswith("gs://gym-temp/")
    assert value_of("--setup_file", command) == str(SCRIPT.parent / "setup.py")
    assert "--model" not in command


def test_every_optional_variable_reaches_the_command():
    command = dry_run(
        MODEL="gs://models/ckpt-70",
        IMAGE="europe-docker.pkg.dev/p/r/repcount:1",
        MACHINE_TYPE="n2-standard-4",
        MAX_WORKERS="20",
        SERVICE_ACCOUNT="counter@gym-project.iam.gserviceaccount.com",
        SUBNETWORK="regions/europe-west4/subnetworks/private",
    )
    assert value_of("--model", command) == "gs://models/ckpt-70"
    assert value_of("--sdk_container_image", command) == "europe-docker.pkg.dev/p/r/repcount:1"
    assert "--setup_file" not in command
    assert value_of("--worker_machine_type", command) == "n2-standard-4"
    assert value_of("--max_num_workers", command) == "20"
    assert value_of("--service_account_email", command) == "counter@gym-project.iam.gserviceaccount.com"
    assert value_of("--subnetwork", command) == "regions/europe-west4/subnetworks/private"
    assert "--no_use_public_ips" in command


def test_options_after_two_hyphens_are_passed_on():
    assert dry_run("--", "--labels", "team=gym one")[-2:] == ["--labels", "team=gym one"]


def test_it_starts_the_program_and_ends_with_its_exit_code(tmp_path):
    program = tmp_path / "repcount"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    program.chmod(0o755)
    finished = run(**REQUIRED, REPCOUNT=str(program))
    assert finished.returncode == 7
    assert finished.stdout.splitlines()[:3] == ["run", "--input", "gs://gym videos/2026/**"]


@pytest.mark.parametrize("name", REQUIRED)
def test_what_is_missing_is_named(name):
    environment = {**REQUIRED, name: ""}
    assert f"set these in the environment: {name};" in refusal(**environment)


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"BUCKET": "gs://gym-temp"}, "BUCKET must be a bucket's name"),
        ({"INPUT": "/my/videos"}, "INPUT must start with gs://"),
        ({"OUTPUT": "duckdb:counts.duckdb"}, "workers cannot reach a file on this machine"),
        ({"JOB_NAME": "Nightly_Run"}, "JOB_NAME must be lower-case"),
        ({"MAX_WORKERS": "many"}, "MAX_WORKERS must be a whole number"),
        ({"GPU_TYPE": "nvidia-l4"}, "GPU workers are not supported yet"),
        ({"REPCOUNT": "/nowhere/repcount"}, "run make setup"),
    ],
)
def test_what_cannot_work_is_refused_before_anything_starts(environment, said):
    line = refusal(**{**REQUIRED, **environment})
    assert said in line
    assert "Received: " in line


def test_a_gpu_asked_for_by_option_is_refused_too():
    assert "GPU workers" in refusal("--", "--dataflow_service_options=worker_accelerator=type:nvidia-l4", **REQUIRED)


def test_an_unknown_option_is_refused():
    assert "Received: --now" in refusal("--now", **REQUIRED)


def test_help_names_every_variable():
    finished = run("--help")
    assert finished.returncode == 0
    for name in (*REQUIRED, "MODEL", "IMAGE", "JOB_NAME", "MACHINE_TYPE", "MAX_WORKERS", "SERVICE_ACCOUNT", "SUBNETWORK"):
        assert f"  {name} " in finished.stdout
