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

from image import imports, slim

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


def test_with_cuda_there_is_nothing_for_several_gpus_and_no_second_random_numbers():
    assert not {"nvidia-nccl-cu12", "nvidia-curand-cu12"} & pins("gpu").keys()


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


def test_what_the_image_compiles_is_there_to_be_imported():
    assert [module for module in imports.MODULES if importlib.util.find_spec(module) is None] == []


def installed_library():
    """The smallest of TensorFlow's libraries."""
    folder = Path(importlib.util.find_spec("tensorflow").submodule_search_locations[0])
    return min((path for path in folder.rglob("*.so") if path.stat().st_size > 100_000), key=lambda path: path.stat().st_size)


@pytest.mark.skipif(shutil.which("strip") is None, reason="needs strip, of binutils")
def test_slimming_deletes_what_is_unused_and_keeps_the_rest(tmp_path):
    library = tmp_path / "tensorflow" / "python" / "library.so"
    kept = [library, tmp_path / "tensorflow" / "__init__.py", tmp_path / "nvidia" / "cusolver" / "lib" / "libcusolver.so.11"]
    deleted = [
        tmp_path / "tensorflow" / "include" / "a" / "header.h",
        tmp_path / "nvidia" / "cusolver" / "lib" / "libcusolverMg.so.11",
        tmp_path / "nvidia" / "cuda_nvrtc" / "lib" / "libnvrtc.alt.so.12",
        tmp_path / "nvidia" / "cuda_runtime" / "lib" / "libcudart_static.a",
    ]
    for path in (*kept, *deleted):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    shutil.copy(installed_library(), library)
    before = library.stat().st_size
    freed = slim.slim(tmp_path)
    assert all(path.exists() for path in kept)
    assert not any(path.exists() for path in deleted)
    assert {pattern: freed[pattern] for pattern in slim.UNUSED} == dict.fromkeys(slim.UNUSED, 5)
    assert freed[slim.STRIPPED] == before - library.stat().st_size > 0


def test_without_strip_the_image_is_larger_but_built(tmp_path, monkeypatch, capsys):
    header, library = tmp_path / "tensorflow" / "include" / "header.h", tmp_path / "tensorflow" / "library.so"
    header.parent.mkdir(parents=True)
    header.write_bytes(b"12345")
    library.write_bytes(b"12345")
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert slim.slim(tmp_path)["tensorflow/include"] == 5
    assert library.exists()
    assert "strip, of binutils, is not installed" in capsys.readouterr().err


def test_a_pattern_that_has_become_wrong_fails_the_build(tmp_path):
    (tmp_path / "tensorflow").mkdir()
    with pytest.raises(FileNotFoundError, match="tensorflow/include"):
        slim.slim(tmp_path)


def build_image(folder, *arguments, engines=("buildah",)):
    """Runs the build script with engines that only note their arguments; those not named answer that they are not running."""
    for engine in ("docker", "podman", "buildah"):
        program = folder / engine
        works = "true" if engine in engines else "false"
        program.write_text(f'#!/bin/sh\n[ "$1" != info ] || exec {works}\necho "{engine} $*"\n')
        program.chmod(0o755)
    environ = {**os.environ, "PATH": f"{folder}:{os.environ['PATH']}"}
    command = [str(ROOT / "image" / "build.sh"), *arguments]
    return subprocess.run(command, env=environ, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    ("engines", "expected"),
    [
        (("docker", "podman", "buildah"), "docker build"),
        (("podman", "buildah"), "podman build"),
        (("buildah",), "buildah build"),
    ],
)
def test_the_image_is_built_by_the_first_engine_that_works(tmp_path, engines, expected):
    finished = build_image(tmp_path, "gpu", "server", engines=engines)
    assert finished.returncode == 0, finished.stderr
    assert finished.stdout.startswith(expected)
    assert "--build-arg VARIANT=gpu --target server" in finished.stdout
    assert "--tag repcount-server:gpu" in finished.stdout


@pytest.mark.parametrize(
    ("arguments", "engines", "message"),
    [
        (["tpu"], ("buildah",), "VARIANT must be cpu or gpu. Received: tpu"),
        (["cpu", "launcher"], ("buildah",), "TARGET must be worker, server or template. Received: launcher"),
        (["cpu", "server", "alpine"], ("buildah",), "BASE must be beam or debian. Received: alpine"),
        (["cpu"], (), "one of these must be installed and running: docker podman buildah"),
        (["cpu", "worker", "debian"], ("docker",), "one of these must be installed and running: buildah"),
    ],
)
def test_a_build_that_cannot_begin_says_why_in_one_line(tmp_path, arguments, engines, message):
    finished = build_image(tmp_path, *arguments, engines=engines)
    assert finished.returncode == 2
    assert finished.stderr == f"build.sh: {message}\n"


def test_the_server_is_an_ordinary_user_and_workers_are_whom_beam_runs():
    stages = re.split(r"^FROM ", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    users = {stage.splitlines()[0].split()[-1]: "\nUSER " in stage for stage in stages[1:]}
    assert users == {
        "dependencies": False,
        "wheel": False,
        "worker": False,
        "server": True,
        "launcher": False,
        "template": False,
    }
