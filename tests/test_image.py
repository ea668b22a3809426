"""The image has what the project's own environment has, and is built from files that are there."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def pins(name):
    """Versions by package."""
    text = (ROOT / "locks" / f"{name}.lock").read_text()
    return dict(re.findall(r"^([a-z0-9._-]+)==([^\s;]+)", text, re.MULTILINE))


def test_cpu_and_gpu_have_the_same_versions_and_one_tensorflow_each():
    cpu, gpu = pins("cpu"), pins("gpu")
    assert cpu.pop("tensorflow-cpu") == cpu["tensorflow"]
    assert "nvidia-cudnn-cu12" in gpu
    assert {name: version for name, version in gpu.items() if not name.startswith("nvidia-")} == cpu


def test_neither_development_tools_nor_what_training_needs_are_in_the_image():
    assert not {"pytest", "mypy", "ruff", "jax", "scikit-image"} & (pins("cpu").keys() | pins("gpu").keys())
    for name in ("dev.lock", "train.lock"):
        assert name not in (ROOT / "Dockerfile").read_text()


@pytest.mark.parametrize("name", ["dev", "train"])
def test_what_is_not_in_the_image_fits_the_versions_of_the_project(name):
    project = pins("cpu")
    assert {package: version for package, version in pins(name).items() if project.get(package, version) != version} == {}


def test_what_training_needs_brings_no_tensorflow_beside_that_of_the_device():
    assert {"jax", "scikit-image"} <= pins("train").keys()
    assert not {"tensorflow", "tensorflow-cpu"} & pins("train").keys()


def test_the_image_runs_the_beam_that_is_locked():
    (base,) = re.findall(r"^FROM apache/beam_python\$\{PYTHON\}_sdk:(\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert pins("cpu")["apache-beam"] == base


def test_all_that_is_copied_is_there():
    for line in re.findall(r"^COPY (?!--from)(.*)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE):
        for name in line.split()[:-1]:
            assert (ROOT / name).exists(), name


def test_what_is_no_part_of_it_is_not_sent_to_be_built():
    ignored = (ROOT / ".dockerignore").read_text().split()
    assert {"tests", "docs", "benchmarks", ".*"} <= set(ignored)
    assert (ROOT / ".gcloudignore").read_text() == (ROOT / ".dockerignore").read_text()


def test_parameters_of_the_template_are_options_of_a_run():
    finished = subprocess.run(
        [sys.executable, "-m", "pipeline.main", "run", "--help"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    metadata = json.loads((ROOT / "image" / "template_metadata.json").read_text())
    table = (ROOT / "docs" / "operations.md").read_text().partition("### Settings")[2].partition("### Quotas")[0]
    documented = re.findall(r"^\|[^|]*\| `--(\w+)` \| `(\w+)` \|", table, re.MULTILINE)
    names = [name for option, name in documented if option == name]
    assert sorted(names) == sorted(parameter["name"] for parameter in metadata["parameters"])
    for parameter in metadata["parameters"]:
        assert f"--{parameter['name']} " in finished.stdout
        for regex in parameter.get("regexes", []):
            re.compile(regex)


@pytest.mark.slow
def test_the_smoke_script_counts_a_clip_and_fails_without_a_gpu_that_it_needs():
    command = [sys.executable, str(ROOT / "image" / "smoke.py")]
    finished = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    assert round(json.loads(finished.stdout)["count"]) == 8
    if shutil.which("nvidia-smi") is None:
        finished = subprocess.run([*command, "--require_gpu"], cwd=ROOT, capture_output=True, text=True, check=False)
        assert finished.returncode == 2
        assert "a GPU is required" in finished.stderr


def run_entry(*arguments, **environment):
    """Runs the template's entry to its last line of errors."""
    command = [sys.executable, str(ROOT / "image" / "template.py"), *arguments]
    finished = subprocess.run(command, cwd=ROOT, env={**os.environ, **environment}, capture_output=True, text=True, check=False)
    assert finished.returncode == 2
    return finished.stderr.splitlines()[-1]


def test_the_templates_entry_says_what_is_missing_in_one_line():
    assert "--build-arg IMAGE=NAME" in run_entry("--output", "bigquery:p.d", REPCOUNT_IMAGE="")
    assert "--input" in run_entry("--output", "bigquery:p.d", REPCOUNT_IMAGE="somewhere/repcount:1")


def test_a_templates_workers_start_from_its_own_image():
    specification = importlib.util.spec_from_file_location("template", ROOT / "image" / "template.py")
    template = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(template)
    assert template.with_image(["--input=a"], "b:1") == ["--input=a", "--sdk_container_image=b:1", "--sdk_location=container"]
    assert template.with_image(["--sdk_container_image=c:1"], "b:1") == ["--sdk_container_image=c:1"]
    assert f"ENV {template.IMAGE_VARIABLE}=${{IMAGE}}" in (ROOT / "Dockerfile").read_text()
    assert "--build-arg=IMAGE=${_IMAGE}" in (ROOT / "image" / "cloudbuild.yaml").read_text()
