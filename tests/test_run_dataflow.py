"""`run_dataflow.sh` turns settings into commands and starts them; a missing setting is one line and exit code 2."""

import itertools
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.dates import parse_days
from tests.support.commands import repcount

SCRIPT = Path(__file__).parent.parent / "run_dataflow.sh"
REQUIRED = {
    "PROJECT": "gym-project",
    "REGION": "europe-west4",
    "BUCKET": "gym-temp",
    "INPUT": "gs://gym videos/2026/**",
    "OUTPUT": "bigquery:gym-project.counts",
}
GPU = {"GPU": "nvidia-l4", "IMAGE": "somewhere/repcount:1", "MAX_WORKERS": "20"}


def run(*arguments, **environment):
    return subprocess.run(
        ["bash", str(SCRIPT), *arguments],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
    )


def dry_run(*arguments, **environment):
    """Returns the words of the command that the script would start."""
    finished = run(*arguments[:1], "--dry_run", *arguments[1:], **{**REQUIRED, **environment})
    assert finished.returncode == 0, finished.stderr
    return shlex.split(finished.stdout)


def refusal(*arguments, **environment):
    """Returns the one line on standard error."""
    finished = run(*arguments, **environment)
    assert finished.returncode == 2
    assert finished.stdout == ""
    (line,) = finished.stderr.splitlines()
    return line


def value_of(option, command):
    return command[command.index(option) + 1]


def test_a_dry_run_prints_a_command_that_a_shell_can_read():
    command = dry_run("nightly")
    assert command[:2] == [str(SCRIPT.parent / ".venv/bin/repcount"), "run"]
    assert value_of("--input", command) == "gs://gym videos/2026/**"
    assert value_of("--output", command) == "bigquery:gym-project.counts"
    assert value_of("--runner", command) == "DataflowRunner"
    assert value_of("--project", command) == "gym-project"
    assert value_of("--region", command) == "europe-west4"
    assert re.fullmatch(r"repcount-nightly-\d{8}", value_of("--job_name", command))
    assert value_of("--unless_active", command) == "repcount-nightly"
    assert value_of("--max_hours", command) == "12"
    assert value_of("--labels", command) == "kind=nightly"
    assert value_of("--temp_location", command).startswith("gs://gym-temp/")
    assert value_of("--setup_file", command) == str(SCRIPT.parent / "setup.py")
    assert not {"--model", "--gpu", "--dates", "--billing_project"} & set(command)


def test_the_project_that_pays_for_reading_is_passed_on():
    assert value_of("--billing_project", dry_run("nightly", BILLING_PROJECT="payer")) == "payer"


def test_nightly_looks_back_a_week_so_that_no_failed_night_is_lost():
    assert len(parse_days(value_of("--dates", dry_run("nightly", INPUT="gs://gym/{date}/**")))) == 7
    given = dry_run("nightly", "--", "--dates=2026-01-31", INPUT="gs://gym/{date}/**")
    assert "--dates" not in given
    assert given[-1] == "--dates=2026-01-31"


def test_a_backfill_has_its_own_job_name_and_no_limit_in_hours():
    command = dry_run("backfill", "--", "--mode=all", "--dates", "2026-01-01..2026-01-31")
    assert re.fullmatch(r"repcount-backfill-\d{8}-\d{6}", value_of("--job_name", command))
    assert not {"--unless_active", "--max_hours"} & set(command)
    assert command[-3:] == ["--mode=all", "--dates", "2026-01-01..2026-01-31"]


def test_every_optional_setting_reaches_the_command():
    command = dry_run(
        "nightly",
        MODEL="gs://models/ckpt-70",
        MACHINE_TYPE="n2-standard-16",
        MAX_HOURS="3",
        JOB_NAME="tonight",
        PLACEMENT="split",
        SERVICE_ACCOUNT="counter@gym-project.iam.gserviceaccount.com",
        SUBNETWORK="regions/europe-west4/subnetworks/private",
        **GPU,
    )
    assert value_of("--model", command) == "gs://models/ckpt-70"
    assert value_of("--sdk_container_image", command) == "somewhere/repcount:1"
    assert "--setup_file" not in command
    assert value_of("--gpu", command) == "nvidia-l4"
    assert value_of("--placement", command) == "split"
    assert value_of("--worker_machine_type", command) == "n2-standard-16"
    assert value_of("--max_num_workers", command) == "20"
    assert value_of("--max_hours", command) == "3"
    assert value_of("--job_name", command) == "tonight"
    assert value_of("--service_account_email", command) == "counter@gym-project.iam.gserviceaccount.com"
    assert value_of("--subnetwork", command) == "regions/europe-west4/subnetworks/private"
    assert "--no_use_public_ips" in command


def test_gpus_come_with_a_word_about_their_quota():
    finished = run("nightly", "--dry_run", **REQUIRED, **GPU)
    assert "up to 20 GPUs of type nvidia-l4 in europe-west4" in finished.stderr


def test_the_image_is_built_for_what_is_set():
    command = dry_run("build", IMAGE="somewhere/repcount:1", GCLOUD="my-gcloud")
    assert command[:3] == ["my-gcloud", "builds", "submit"]
    substitutions = value_of("--substitutions", command)
    assert substitutions.startswith(
        "_IMAGE=somewhere/repcount:1,_VARIANT=cpu,_TARGET=worker,_LAUNCHER_IMAGE=scratch,_PYTHON=3."
    )
    command = dry_run("build", LAUNCHER_IMAGE="launcher:1", **GPU)
    assert ",_VARIANT=gpu,_TARGET=template,_LAUNCHER_IMAGE=launcher:1," in value_of("--substitutions", command)


def test_the_image_has_the_python_of_the_program(tmp_path):
    (tmp_path / "python").symlink_to(sys.executable)
    command = dry_run("build", IMAGE="somewhere/repcount:1", REPCOUNT=str(tmp_path / "repcount"))
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    assert value_of("--substitutions", command).endswith(f",_PYTHON={version}")


def test_the_template_is_written_to_the_bucket():
    command = dry_run("template", IMAGE="somewhere/repcount:1")
    assert command[:4] == ["gcloud", "dataflow", "flex-template", "build"]
    assert command[4] == "gs://gym-temp/repcount/template.json"
    assert Path(value_of("--metadata-file", command)).exists()


def test_cost_uses_the_machine_of_the_settings():
    words = dry_run("cost", GPU="nvidia-l4", MACHINE_TYPE="g2-standard-32")
    assert words[1:] == ["cost", "--gpu", "nvidia-l4", "--worker_machine_type", "g2-standard-32"]


@pytest.mark.parametrize(
    ("options", "settings"),
    [
        ([], {"GPU": ""}),
        ([], {"GPU": "nvidia-l4", "PLACEMENT": "split"}),
        (["--cores", "4"], {"GPU": "nvidia-l4"}),
        (["--gpu=nvidia-tesla-t4", "--gpu_hour", "0.3"], {"GPU": "nvidia-l4"}),
    ],
)
def test_cost_leaves_out_a_machine_that_scores_nothing_or_is_not_asked_for(options, settings):
    assert "--worker_machine_type" not in dry_run("cost", "--", *options, MACHINE_TYPE="n2-standard-8", **settings)


@pytest.mark.parametrize("bucket", ["gs://gym-temp", "gym-temp/", "gym-temp/folder"])
def test_a_bucket_is_a_name(bucket):
    for command in ("nightly", "template"):
        assert "BUCKET must be the name of a bucket" in refusal(command, **{**REQUIRED, **GPU, "BUCKET": bucket})


def test_cost_uses_the_gpu_of_the_settings():
    assert dry_run("cost", "--", "--videos", "5", GPU="nvidia-l4")[1:] == ["cost", "--gpu", "nvidia-l4", "--videos", "5"]


def test_a_night_with_a_name_of_its_own_waits_for_jobs_of_that_name():
    command = dry_run("nightly", JOB_NAME="gym-night")
    assert [value_of(option, command) for option in ("--job_name", "--unless_active")] == ["gym-night"] * 2


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("lite", ["--model", "lite"]),
        ("gs://my models/repnet-2020.safetensors", ["--model", "repnet-2020"]),
        ("gs://models/ckpt-70", ["--model", "repnet-2025"]),
    ],
)
def test_cost_is_that_of_the_model_of_the_settings(model, words):
    assert dry_run("cost", MODEL=model)[1:] == ["cost", *words]


def test_cost_of_a_model_of_unknown_size_is_refused_unless_a_known_one_is_named():
    finished = run("cost", "--dry_run", MODEL="gs://models/mine.safetensors")
    assert finished.returncode == 2
    assert "add -- --model NAME of one as large. Received: MODEL=gs://models/mine.safetensors" in finished.stderr
    assert dry_run("cost", "--", "--model", "lite", MODEL="gs://models/mine")[1:] == ["cost", "--model", "lite"]


def test_settings_come_from_a_file_unless_the_environment_sets_them(tmp_path):
    (tmp_path / "settings").write_text(
        "# a comment\n\nPROJECT=of-the-file\r\nREGION=us-central1\n"
        "INPUT='gs://a b/$(touch x)/**'\nOUTPUT=\"bigquery:p.d\"\nBUCKET=gym-temp\nMODEL="
    )
    finished = run("nightly", "--dry_run", "--env", str(tmp_path / "settings"), PROJECT="of-the-environment")
    command = shlex.split(finished.stdout)
    assert value_of("--project", command) == "of-the-environment"
    assert value_of("--region", command) == "us-central1"
    assert value_of("--input", command) == "gs://a b/$(touch x)/**"
    assert value_of("--output", command) == "bigquery:p.d"
    assert "--model" not in command


SETTINGS = {
    setting: options
    for setting, options in re.findall(
        r"^\| (?:`([A-Z_]+)`)? ?\| (.*?) ?\|", (SCRIPT.parent / "docs" / "operations.md").read_text(), re.MULTILINE
    )
    if setting
}
"""The options that each setting becomes, from the documented table."""


def test_every_setting_is_in_the_documented_table():
    documented = re.findall(r"^  ([A-Z_]+) ", run("--help").stdout, re.MULTILINE)
    assert set(documented) - {"REPCOUNT"} == SETTINGS.keys()


@pytest.mark.parametrize(("setting", "options"), [(name, re.findall(r"--\w+", text)) for name, text in SETTINGS.items()])
def test_every_setting_becomes_the_options_that_the_table_names(setting, options):
    command = dry_run(
        "backfill", **{**(GPU if setting == "PLACEMENT" else {}), setting: "value1", "MAX_WORKERS": "value1", "IMAGE": "value1"}
    )
    assert set(options) <= set(command)
    assert not options or any(before in options and "value1" in word for before, word in itertools.pairwise(command))


def test_labels_are_added_to_that_of_the_command():
    command = dry_run("nightly", LABELS="team=gym,stage=live")
    assert [word for before, word in itertools.pairwise(command) if before == "--labels"] == [
        "team=gym",
        "stage=live",
        "kind=nightly",
    ]


def test_the_example_has_every_setting():
    text = (SCRIPT.parent / ".env.example").read_text()
    usage = run("--help").stdout
    names = set(re.findall(r"^#?([A-Z_]+)=", text, re.MULTILINE))
    documented = set(re.findall(r"^  ([A-Z_]+) ", usage, re.MULTILINE)) - {"REPCOUNT"}
    assert names == documented


def test_help_needs_no_settings(tmp_path):
    (tmp_path / ".env").write_text("no setting\n")
    assert run("--env", str(tmp_path / ".env"), "--help").stdout == run("--help").stdout


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("PROJECT", "line 1: must be NAME=VALUE. Received: PROJECT"),
        ("rm -rf x", "line 1: must be NAME=VALUE"),
        ("PROJEKT=x", "line 1: unknown setting; --help lists them. Received: PROJEKT"),
        ("PATH=/x", "line 1: unknown setting; --help lists them. Received: PATH"),
        ("\ufeffPROJEKT=x", "line 1: unknown setting; --help lists them. Received: PROJEKT"),
    ],
)
def test_an_invalid_line_of_the_settings_is_named(tmp_path, line, said):
    (tmp_path / "settings").write_text(line + "\n")
    assert said in refusal("nightly", "--env", str(tmp_path / "settings"))


@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_terminal_commands_in_a_received_value_are_not_printed(tmp_path, locale):
    hostile = "\x1b[31mx\n\x9b2J"
    (tmp_path / "settings").write_text(hostile)
    for line in (
        refusal("nightly", "--env", str(tmp_path / "settings"), LC_ALL=locale),
        refusal("nightly", "--env", hostile, LC_ALL=locale),
        refusal(hostile, LC_ALL=locale),
        refusal("template", **{**REQUIRED, **GPU, "BUCKET": hostile + "/"}, LC_ALL=locale),
        refusal("nightly", **REQUIRED, REPCOUNT=hostile, LC_ALL=locale),
    ):
        assert "Received: ?[31mx" in line
        assert line.isprintable()


def test_the_script_ends_with_the_exit_code_of_the_program(tmp_path):
    program = tmp_path / "repcount"
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\nexit 7\n')
    program.chmod(0o755)
    finished = run("backfill", **REQUIRED, REPCOUNT=str(program))
    assert finished.returncode == 7
    assert finished.stdout.splitlines()[:3] == ["run", "--input", "gs://gym videos/2026/**"]


@pytest.mark.parametrize("name", REQUIRED)
def test_a_missing_setting_is_named(name):
    environment = {**REQUIRED, name: ""}
    assert f"missing settings: {name}. Set them in the environment or in .env" in refusal("nightly", **environment)


def test_without_an_image_and_public_addresses_a_note_says_that_cloud_nat_is_needed():
    private = "regions/europe-west4/subnetworks/private"
    assert "Cloud NAT" in run("nightly", "--dry_run", **REQUIRED, SUBNETWORK=private).stderr
    assert "Cloud NAT" not in run("nightly", "--dry_run", **REQUIRED, SUBNETWORK=private, IMAGE="somewhere/repcount:1").stderr


@pytest.mark.parametrize("name", ["IMAGE", "MAX_WORKERS"])
def test_a_setting_that_gpus_need_is_named(name):
    assert f"missing settings: {name}." in refusal("nightly", **{**REQUIRED, **GPU, name: ""})


@pytest.mark.parametrize("command", ["nightly", "backfill"])
def test_a_placement_that_needs_gpus_is_refused_without_one(command):
    for settings in ({}, {"GPU": ""}):
        line = refusal(command, "--dry_run", **REQUIRED, PLACEMENT="split", **settings)
        assert "set GPU, such as nvidia-l4. Received: PLACEMENT=split" in line
    assert "--placement" not in dry_run(command, PLACEMENT="fused")


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"PROJECT": "My Project"}, "--project must be a project ID"),
        ({"REGION": "europe-west4-a"}, "--region must be a region such as europe-west4"),
        ({"BUCKET": "gym_temp!"}, "--temp_location must be gs://BUCKET/FOLDER"),
        ({"INPUT": "/my/videos"}, "--input must be on gs://"),
        ({"OUTPUT": "duckdb:counts.duckdb"}, "with a DuckDB file, which workers on other machines cannot reach"),
        ({"OUTPUT": "gym-project.counts"}, "output must be duckdb:PATH or bigquery:PROJECT.DATASET"),
        ({"JOB_NAME": "Nightly_Run"}, "--job_name must be lower-case letters"),
        ({"MAX_WORKERS": "many"}, "invalid int value: 'many'"),
        ({"MAX_WORKERS": "0"}, "--max_num_workers must be a whole number of at least 1"),
        ({"MAX_HOURS": "0"}, "--max_hours must be a number of at least 0.1"),
        ({**GPU, "GPU": "l4"}, "argument --gpu"),
        ({**GPU, "PLACEMENT": "both"}, "argument --placement"),
        ({"MODEL": "repnet-2020"}, "--model must be on gs://"),
        ({"LABELS": "team=gym,Stage=live"}, "--labels must be KEY=VALUE"),
        ({"IMAGE": "no image"}, "--sdk_container_image must be an image name"),
    ],
)
def test_the_program_behind_the_script_refuses_invalid_settings_in_one_line(environment, said, capsys):
    assert repcount(*dry_run("nightly", **environment)[1:]) == 2
    captured = capsys.readouterr()
    (line,) = (line for line in captured.err.splitlines() if not line.startswith("Loading model"))
    assert said in line
    assert captured.out == ""


def test_a_program_that_is_not_installed_is_named():
    line = refusal("nightly", **REQUIRED, REPCOUNT="/nowhere/repcount")
    assert "run make setup. Received: /nowhere/repcount" in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--now"], "Received: --now"),
        (["nightly", "backfill"], "give one command. Received: nightly and backfill"),
        ([], "give a command"),
        (["nightly", "--env"], "--env needs a file"),
        (["nightly", "--env", "/nowhere"], "Received: /nowhere"),
        (["nightly", "--env", "/"], "Received: /"),
    ],
)
def test_wrong_usage_is_refused(arguments, said):
    assert said in refusal(*arguments, **REQUIRED)


@pytest.mark.parametrize(("command", "said"), [("nightly", "--placement"), ("cost", "--videos"), ("build", "LAUNCHER_IMAGE")])
def test_every_command_has_its_own_help(command, said):
    finished = run(command, "--help", REPCOUNT=str(Path(sys.executable).parent / "repcount"))
    assert finished.returncode == 0
    assert said in finished.stdout
